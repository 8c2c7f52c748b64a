"""What a node has of SGX and of confidential virtual machines, and what has to be mended before it can be used."""

from kloister.kubernetes.node.detection.detecting import detect
from kloister.kubernetes.node.detection.facts import DeviceNode, Finding, Guest, NodeFacts
from kloister.kubernetes.node.detection.simulated import simulated

__all__ = ["DeviceNode", "Finding", "Guest", "NodeFacts", "detect", "simulated"]
