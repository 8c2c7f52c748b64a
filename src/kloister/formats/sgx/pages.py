from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag

from kloister.errors import Misused

PAGE_SIZE = 4096
_ZERO_PAGE = bytes(PAGE_SIZE)


class PageFlag(IntFlag):
    """SECINFO.FLAGS: permissions in the low bits, the page's type in bits 8 to 15 (SDM 3D, 35.11)."""

    R = 1
    W = 2
    X = 4
    TCS = 0x100
    REG = 0x200


@dataclass(frozen=True, slots=True)
class Page:
    """One page to add: EADD, and with `measured` sixteen times EEXTEND."""

    offset: int  # bytes from the enclave's base
    flags: int  # SECINFO.FLAGS
    content: bytes = _ZERO_PAGE  # 4096 bytes
    measured: bool = True  # whether its content is part of MRENCLAVE

    def __post_init__(self) -> None:
        if len(self.content) != PAGE_SIZE:
            raise Misused("page-size", f"A page has {PAGE_SIZE} bytes, not {len(self.content)}.")


@dataclass(frozen=True, slots=True)
class Run:
    """Pages that follow one another and share their flags: what an area of an enclave is made of.

    The content stands at the front; what it does not fill is zero. Measuring a run gives the same hash as measuring
    its pages one by one, without an object for each of them.
    """

    offset: int  # bytes from the enclave's base
    count: int  # pages
    flags: int  # SECINFO.FLAGS
    content: bytes = b""  # at most count * 4096 bytes
    measured: bool = True

    def __post_init__(self) -> None:
        if self.count < 0 or len(self.content) > self.count * PAGE_SIZE:
            raise Misused("run-size", f"{len(self.content)} bytes do not fit into {self.count} pages.")

    @classmethod
    def of(cls, page: Page) -> Run:
        """The run of that page alone."""
        return cls(page.offset, 1, page.flags, page.content, page.measured)

    @property
    def end(self) -> int:
        """The first byte after the run."""
        return self.offset + self.count * PAGE_SIZE

    def pages(self) -> Iterator[Page]:
        """Its pages, lowest first."""
        for start in range(0, self.count * PAGE_SIZE, PAGE_SIZE):
            content = self.content[start : start + PAGE_SIZE].ljust(PAGE_SIZE, b"\0")
            yield Page(self.offset + start, self.flags, content, self.measured)
