"""EPC as a node has it, and the blocks in which the device plugin hands it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kloister.errors import Malformed, Misconfigured
from kloister.kubernetes.names import MIB
from kloister.kubernetes.quantity import whole

MOST_BLOCKS = 8192
"""Of a node: their list takes 0.3 MB, where the kubelet reads 4 MiB (kubernetes.md, 1.2)."""

_MOST_NODES = 64  # NUMA nodes; Linux's CONFIG_NODES_SHIFT of distributions allows 1024, machines with SGX have 2 to 8
_LEAST, _MOST = MIB, 1 << 44  # bytes of a simulated section


@dataclass(frozen=True, slots=True)
class EpcSection:
    """EPC of one NUMA node.

    Attributes:
        node: number of the NUMA node; None where neither kernel nor processor tells.
        bytes: its size.
        kind: `integrity` (MEE, with an integrity tree), `tme` (without one), `simulated`, or `unknown`.
    """

    node: int | None
    bytes: int
    kind: str

    def as_json(self) -> dict[str, int | str | None]:
        """As the ConfidentialNode resource and `--json` have it."""
        return {"node": self.node, "bytes": self.bytes, "kind": self.kind}


@dataclass(frozen=True, slots=True)
class Block:
    """One device of `sgx.intel.com/epc-block`."""

    id: str
    node: int | None


def total(sections: Sequence[EpcSection]) -> int:
    """Bytes of all sections."""
    return sum(section.bytes for section in sections)


def block_size(size: int) -> int:
    """Bytes of a block on a node with `size` bytes of EPC: at least 1 MiB, a power of two, at most 8192 blocks."""
    least = max(MIB, -(-size // MOST_BLOCKS))
    return 1 << (least - 1).bit_length()


def blocks(sections: Sequence[EpcSection], size: int = 0) -> tuple[Block, ...]:
    """All whole blocks of a node, in the order of the sections; what is left of a section is not handed out.

    Args:
        sections: EPC by NUMA node.
        size: bytes of a block; 0: by the EPC.
    """
    size = size or block_size(total(sections))
    return tuple(
        Block(f"epc{number}-{index}", section.node)
        for number, section in enumerate(sections)
        for index in range(section.bytes // size)
    )


def parse_block(text: str, sections: Sequence[EpcSection]) -> int:
    """The size of `--block`, one for all nodes of a cluster: a power of two that makes no node's list too long.

    Raises:
        Misconfigured: `block-size`.
    """
    try:
        size = whole(text)
    except Malformed:
        size = 0
    if size < max(MIB, block_size(total(sections)) if sections else MIB) or size & (size - 1):
        raise Misconfigured(
            "block-size",
            f"{text[:64]!a} is no size of EPC blocks here: a power of two from 1Mi on, {MOST_BLOCKS} blocks at most.",
            "Take the size that the cluster's largest node has by itself: `kloister node describe NODE`.",
        )
    return size


def parse_sizes(text: str) -> tuple[EpcSection, ...]:
    """The sections of `--simulate`: `64Gi`, or one size for each NUMA node, `32Gi,32Gi`; whole MiB, as platforms have.

    Raises:
        Misconfigured: `simulated-epc`.
    """
    try:
        sizes = [whole(part.strip()) // MIB * MIB for part in text.split(",")]
    except Malformed:
        sizes = []
    if not 0 < len(sizes) <= _MOST_NODES or not all(_LEAST <= size <= _MOST for size in sizes):
        raise Misconfigured(
            "simulated-epc",
            f"{text[:64]!a} is no EPC: 1Mi to 16Ti for each NUMA node are wanted.",
            "Try --simulate 64Gi, or --simulate 32Gi,32Gi for two NUMA nodes.",
        )
    return tuple(EpcSection(node, size, "simulated") for node, size in enumerate(sizes))
