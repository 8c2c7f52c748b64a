from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from kloister.errors import Malformed, Unavailable
from kloister.formats.sgx import PAGE_SIZE


@dataclass(frozen=True, slots=True)
class EpcNode:
    """The part of the EPC on one NUMA node; what is no whole page is not used."""

    size: int  # bytes
    package: int = 0  # the processor package (socket) that the node belongs to

    @property
    def pages(self) -> int:
        """Whole pages."""
        return self.size // PAGE_SIZE


class Epc:
    """The enclave page cache: how many pages there are on each NUMA node, and how many are taken.

    An enclave has a home node; what does not fit there goes to the others, as Linux's SGX driver does it.

    Args:
        nodes: one or more.
    """

    def __init__(self, nodes: Sequence[EpcNode]) -> None:
        self._totals = [node.pages for node in nodes]
        self._used = [0] * len(self._totals)

    @property
    def total(self) -> int:
        """Pages of all nodes."""
        return sum(self._totals)

    @property
    def used(self) -> int:
        """Pages that are taken."""
        return sum(self._used)

    @property
    def used_by_node(self) -> tuple[int, ...]:
        """Pages that are taken on each node."""
        return tuple(self._used)

    @property
    def free(self) -> int:
        """Pages that are not taken."""
        return self.total - self.used

    def home(self) -> int:
        """Where an enclave that begins now is at home: the node with the most free pages."""
        return self._emptiest()[0]

    def require(self, pages: int) -> None:
        """Raises `Unavailable` (`epc-exhausted`) unless that many pages are free."""
        if pages > self.free:
            raise Unavailable(
                "epc-exhausted",
                f"The enclave wants {pages} pages ({_mib(pages)}) of EPC; {self.free} ({_mib(self.free)}) of"
                f" {self.total} ({_mib(self.total)}) are free.",
                "Stop another enclave, make this one smaller (sgx.enclave_size, EDMM), or give the platform more EPC.",
            )

    def take(self, pages: int, home: int = 0) -> tuple[int, ...]:
        """Take pages, at home first; how many on each node. Errors as `require`."""
        self.require(pages)
        taken = [0] * len(self._totals)
        for node in (home, *(node for node in self._emptiest() if node != home)):
            taken[node] = min(pages, self._totals[node] - self._used[node])
            pages -= taken[node]
            self._used[node] += taken[node]
        return tuple(taken)

    def give(self, taken: Sequence[int]) -> None:
        """Give back what was taken of each node."""
        self._used = [used - back for used, back in zip(self._used, taken, strict=True)]

    def _emptiest(self) -> list[int]:
        """Nodes by free pages, most first."""
        return sorted(range(len(self._totals)), key=lambda node: self._used[node] - self._totals[node])


def _mib(pages: int) -> str:
    return f"{pages * PAGE_SIZE / (1 << 20):.1f} MiB"


class PageMap:
    """Which pages of one enclave exist: disjoint ranges, so that a large heap costs one entry."""

    def __init__(self) -> None:
        self._starts: list[int] = []  # ascending byte offsets
        self._ends: list[int] = []
        self.count = 0  # pages

    def add(self, start: int, pages: int) -> None:
        """Note `pages` pages from byte offset `start`. Raises `Malformed` (`eadd-twice`) if one is there already."""
        end = start + pages * PAGE_SIZE
        at = bisect_right(self._starts, start)
        if (at and self._ends[at - 1] > start) or (at < len(self._starts) and self._starts[at] < end):
            raise Malformed("eadd-twice", f"A page from {start:#x} to {end:#x} is in the enclave already.")
        self.count += pages
        if at and self._ends[at - 1] == start:
            self._ends[at - 1] = end
        else:
            self._starts.insert(at, start)
            self._ends.insert(at, end)
