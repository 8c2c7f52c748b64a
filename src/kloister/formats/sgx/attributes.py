from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import ClassVar, Self

from kloister.formats.wire import Cursor, Writer


class Flag(IntFlag):
    """ATTRIBUTES.FLAGS (SDM 3D, 35.7.1)."""

    INIT = 1
    DEBUG = 2
    MODE64BIT = 4
    PROVISIONKEY = 0x10
    EINITTOKEN = 0x20
    CET = 0x40
    KSS = 0x80
    AEXNOTIFY = 0x400


class Misc(IntFlag):
    """MISCSELECT: what an SSA frame holds besides registers (SDM 3D, 35.7.2)."""

    EXINFO = 1
    CPINFO = 2


@dataclass(frozen=True, slots=True)
class Attributes:
    """ATTRIBUTES, 16 bytes (SDM 3D, 35.7.1)."""

    SIZE: ClassVar[int] = 16

    flags: int  # 0, u64
    xfrm: int  # 8, u64: XCR0 of the enclave

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed` unless `data` has 16 bytes."""
        cursor = Cursor(data, "attributes")
        attributes = cls.read(cursor)
        cursor.finish()
        return attributes

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """The next 16 bytes of a structure that holds attributes."""
        return cls(flags=cursor.uint(8, "flags"), xfrm=cursor.uint(8, "xfrm"))

    def build(self) -> bytes:
        """The 16 bytes."""
        return Writer().uint(self.flags, 8).uint(self.xfrm, 8).build()

    def __and__(self, mask: Attributes) -> Attributes:
        return Attributes(self.flags & mask.flags, self.xfrm & mask.xfrm)

    def has(self, flag: Flag) -> bool:
        """Whether all bits of `flag` are set."""
        return self.flags & flag == flag
