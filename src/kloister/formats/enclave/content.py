"""The smallest enclave around any content: the platform's own enclaves, and `simulator quote --enclave FILE`.

From address 0: one page with a magic and the content's size, so that trailing zeros count; the content, readable and
executable, one page at least; one TCS page; one SSA frame.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, Self

from kloister.errors import Malformed
from kloister.formats.enclave.measurement import SSA_FRAME_PAGES, mrenclave
from kloister.formats.sgx.attributes import Attributes, Flag
from kloister.formats.sgx.pages import PAGE_SIZE, PageFlag, Run
from kloister.formats.sgx.sigstruct import Sigstruct
from kloister.formats.sgx.tcs import Tcs
from kloister.formats.wire import Writer

MAX_CONTENT: Final = 64 << 20  # bytes: an executable; larger programs are converted
_XFRM: Final = 0x3  # x87 and SSE
_ALL: Final = (1 << 64) - 1
_MAGIC: Final = b"kloister-content"
_TAIL_PAGES: Final = 1 + SSA_FRAME_PAGES


@dataclass(frozen=True, slots=True)
class ContentEnclave:
    """Size and pages of an enclave whose measured content is given."""

    size: int  # bytes of address range
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Lay the enclave out. Raises `Malformed` (`content-size`) above 64 MiB."""
        if len(content) > MAX_CONTENT:
            raise Malformed("content-size", f"An enclave's content has at most {MAX_CONTENT} bytes here.")
        count = max(1, -(-len(content) // PAGE_SIZE))
        tcs = PAGE_SIZE * (1 + count)
        head = Writer().raw(_MAGIC, 16).uint(len(content), 8).build()
        thread = Tcs(ossa=tcs + PAGE_SIZE, nssa=1, oentry=PAGE_SIZE).build()
        runs = (
            Run(0, 1, PageFlag.REG | PageFlag.R, head),
            Run(PAGE_SIZE, count, PageFlag.REG | PageFlag.R | PageFlag.X, content),
            Run(tcs, 1, PageFlag.TCS, thread),
            Run(tcs + PAGE_SIZE, SSA_FRAME_PAGES, PageFlag.REG | PageFlag.R | PageFlag.W),
        )
        pages = 1 + count + _TAIL_PAGES
        return cls(size=PAGE_SIZE << (pages - 1).bit_length(), runs=runs)

    def mrenclave(self) -> bytes:
        """What it measures, 32 bytes."""
        return mrenclave(self.runs, self.size)

    def unsigned_sigstruct(
        self, date: dt.date | None, *, debug: bool = False, isvprodid: int = 0, isvsvn: int = 0
    ) -> Sigstruct:
        """What the author signs: 64-bit mode, x87 and SSE, and DEBUG only where it is asked for."""
        return Sigstruct(
            enclavehash=self.mrenclave(),
            attributes=Attributes(Flag.MODE64BIT | (Flag.DEBUG if debug else 0), _XFRM),
            attribute_mask=Attributes(_ALL, _ALL),
            date=date,
            isvprodid=isvprodid,
            isvsvn=isvsvn,
        )
