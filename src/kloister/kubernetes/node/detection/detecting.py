from __future__ import annotations

from pathlib import Path

from kloister.kubernetes.node.detection.cpuid import Cpuid, from_device, read
from kloister.kubernetes.node.detection.facts import NodeFacts


def detect(root: Path = Path("/"), cpuid: Cpuid | None = None) -> NodeFacts:
    """What the machine below `root` has."""
    processor = read(cpuid or from_device(root))
    return NodeFacts(epc=processor.sections if processor else ())
