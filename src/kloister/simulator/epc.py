from __future__ import annotations

from bisect import bisect_right

from kloister.errors import Malformed, Unavailable
from kloister.formats.sgx import PAGE_SIZE


class Epc:
    """The enclave page cache: how many pages there are, and how many are taken.

    Args:
        size: bytes; what is no whole page is not used.
    """

    def __init__(self, size: int) -> None:
        self.total = size // PAGE_SIZE  # pages
        self.used = 0  # pages

    @property
    def free(self) -> int:
        """Pages that are not taken."""
        return self.total - self.used

    def require(self, pages: int) -> None:
        """Raises `Unavailable` (`epc-exhausted`) unless that many pages are free."""
        if pages > self.free:
            raise Unavailable(
                "epc-exhausted",
                f"The enclave wants {pages} pages ({_mib(pages)}) of EPC; {self.free} ({_mib(self.free)}) of"
                f" {self.total} ({_mib(self.total)}) are free.",
                "Stop another enclave, make this one smaller (sgx.enclave_size, EDMM), or give the platform more EPC.",
            )

    def take(self, pages: int) -> None:
        """Take pages; errors as `require`."""
        self.require(pages)
        self.used += pages

    def give(self, pages: int) -> None:
        """Give taken pages back."""
        self.used -= pages


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
