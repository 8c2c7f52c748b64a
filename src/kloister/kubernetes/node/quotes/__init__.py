"""Quotes for the pods of a node: the service that Intel's clients know as AESM, in front of what makes quotes here.

It never makes a quote for anything but a REPORT that the quoting enclave itself checks, and never sees a secret.
"""

from kloister.kubernetes.node.quotes.backend import QuoteBackend
from kloister.kubernetes.node.quotes.forward import ForwardBackend
from kloister.kubernetes.node.quotes.library import LibraryBackend
from kloister.kubernetes.node.quotes.metrics import QuoteMetrics
from kloister.kubernetes.node.quotes.readiness import Readiness
from kloister.kubernetes.node.quotes.server import QuoteServer
from kloister.kubernetes.node.quotes.settings import Limits, QuoteSettings
from kloister.kubernetes.node.quotes.simulated import SimulatedBackend

__all__ = [
    "ForwardBackend",
    "LibraryBackend",
    "Limits",
    "QuoteBackend",
    "QuoteMetrics",
    "QuoteServer",
    "QuoteSettings",
    "Readiness",
    "SimulatedBackend",
]
