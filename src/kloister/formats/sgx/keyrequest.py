from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, Self

from kloister.formats.sgx.attributes import Attributes
from kloister.formats.wire import Cursor, Writer

_NO_BITS = Attributes(0, 0)


class KeyName(IntEnum):
    """KEYREQUEST.KEYNAME (SDM 3D, 35.18.1)."""

    EINITTOKEN = 0
    PROVISION = 1
    PROVISION_SEAL = 2
    REPORT = 3
    SEAL = 4


class KeyPolicy(IntFlag):
    """KEYREQUEST.KEYPOLICY (SDM 3D, 35.18.2)."""

    MRENCLAVE = 1
    MRSIGNER = 2
    NOISVPRODID = 4
    CONFIGID = 8
    ISVFAMILYID = 0x10
    ISVEXTPRODID = 0x20


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """KEYREQUEST, 512 bytes: what EGETKEY is asked for (SDM 3D, 35.18).

    `keyname` and `keypolicy` are plain integers: a value that no processor knows is for EGETKEY to refuse.
    """

    SIZE: ClassVar[int] = 512

    keyname: int  # 0, u16
    keypolicy: int = 0  # 2, u16
    isvsvn: int = 0  # 4, u16
    cet_mask: int = 0  # 6, u8
    cpusvn: bytes = bytes(16)  # 8
    attribute_mask: Attributes = _NO_BITS  # 24
    keyid: bytes = bytes(32)  # 40
    misc_mask: int = 0  # 72, u32
    configsvn: int = 0  # 76, u16

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed` on another size than 512 bytes or reserved bytes that are not zero."""
        cursor = Cursor(data, "keyrequest")
        keyname, keypolicy = cursor.uint(2, "keyname"), cursor.uint(2, "keypolicy")
        isvsvn, cet_mask = cursor.uint(2, "isvsvn"), cursor.uint(1, "cet_mask")
        cursor.zero(1, "at 7")
        request = cls(
            keyname=keyname,
            keypolicy=keypolicy,
            isvsvn=isvsvn,
            cet_mask=cet_mask,
            cpusvn=cursor.take(16, "cpusvn"),
            attribute_mask=Attributes.read(cursor),
            keyid=cursor.take(32, "keyid"),
            misc_mask=cursor.uint(4, "misc_mask"),
            configsvn=cursor.uint(2, "configsvn"),
        )
        cursor.zero(434, "at 78")
        cursor.finish()
        return request

    def build(self) -> bytes:
        """The 512 bytes."""
        writer = Writer().uint(self.keyname, 2).uint(self.keypolicy, 2).uint(self.isvsvn, 2)
        writer.uint(self.cet_mask, 1).zero(1).raw(self.cpusvn, 16).raw(self.attribute_mask.build(), 16)
        return writer.raw(self.keyid, 32).uint(self.misc_mask, 4).uint(self.configsvn, 2).zero(434).build()
