from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from kloister.formats.wire import Cursor, Writer


@dataclass(frozen=True, slots=True)
class Tcs:
    """Thread Control Structure, one page, as EADD takes it (SDM 3D, 35.8)."""

    SIZE: ClassVar[int] = 4096

    ossa: int  # 16, u64: offset of the SSA frames
    nssa: int  # 28, u32: their number
    oentry: int  # 32, u64: offset of the first instruction
    ofsbase: int = 0  # 48, u64
    ogsbase: int = 0  # 56, u64
    fslimit: int = 0xFFF  # 64, u32
    gslimit: int = 0xFFF  # 68, u32
    flags: int = 0  # 8, u64
    cssa: int = 0  # 24, u32: the frame in use

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed` on another size than 4096 bytes or reserved bytes that are not zero."""
        cursor = Cursor(data, "tcs")
        cursor.zero(8, "at 0")
        flags, ossa = cursor.uint(8, "flags"), cursor.uint(8, "ossa")
        cssa, nssa = cursor.uint(4, "cssa"), cursor.uint(4, "nssa")
        oentry = cursor.uint(8, "oentry")
        cursor.zero(8, "at 40")
        tcs = cls(
            flags=flags,
            ossa=ossa,
            cssa=cssa,
            nssa=nssa,
            oentry=oentry,
            ofsbase=cursor.uint(8, "ofsbase"),
            ogsbase=cursor.uint(8, "ogsbase"),
            fslimit=cursor.uint(4, "fslimit"),
            gslimit=cursor.uint(4, "gslimit"),
        )
        cursor.zero(4024, "at 72")
        cursor.finish()
        return tcs

    def build(self) -> bytes:
        """The page."""
        writer = Writer().zero(8).uint(self.flags, 8).uint(self.ossa, 8).uint(self.cssa, 4).uint(self.nssa, 4)
        writer.uint(self.oentry, 8).zero(8).uint(self.ofsbase, 8).uint(self.ogsbase, 8)
        return writer.uint(self.fslimit, 4).uint(self.gslimit, 4).zero(4024).build()
