"""What the agent tells the cluster of its node: a ConfidentialNode (architecture.md, 14)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from kloister.kubernetes.node.detection import NodeFacts
from kloister.kubernetes.node.quotes import Readiness
from kloister.kubernetes.resources import ConfidentialNode, Section

Reporter = Callable[[ConfidentialNode], Awaitable[None]]
"""Writes the node's resource. Raises `KloisterError`; it is tried again."""


def report(name: str, facts: NodeFacts, adopted: Iterable[str], quotes: Readiness, seen: datetime) -> ConfidentialNode:
    """The resource of node `name`; EPC of a section whose NUMA node nobody tells counts as the first one's."""
    return ConfidentialNode(
        name=name,
        block=facts.block_bytes,
        sections=tuple(Section(section.node or 0, section.bytes) for section in facts.epc),
        flags=frozenset(flag for flag, present in facts.flags.items() if present and flag != "sgx"),
        simulated=facts.simulated,
        seen=seen,
        tees=tuple(guest.kind for guest in facts.guests),
        adopted=", ".join(sorted(adopted)),
        quotes=quotes.ready,
        reason=quotes.code,
    )
