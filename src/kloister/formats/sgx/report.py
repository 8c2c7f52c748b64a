from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from kloister.errors import Malformed
from kloister.formats.sgx.attributes import Attributes
from kloister.formats.wire import Cursor, Writer

_WHAT = "report"
_BODY = struct.Struct("<16sIB11x16sQQ32s32x32s32x64sHHH42x16s64s")
_RESERVED = bytes(11 + 32 + 32 + 42)


@dataclass(frozen=True, slots=True)
class ReportBody:
    """The 384 bytes of a REPORT that its MAC, or a quote's signature, covers (SDM 3D, 35.15)."""

    SIZE: ClassVar[int] = 384

    cpusvn: bytes  # 0, 16 bytes
    attributes: Attributes  # 48
    mrenclave: bytes  # 64, 32 bytes
    mrsigner: bytes  # 128, 32 bytes
    isvprodid: int  # 256, u16
    isvsvn: int  # 258, u16
    report_data: bytes  # 320, 64 bytes
    miscselect: int = 0  # 16, u32
    cet_attributes: int = 0  # 20, u8
    isvextprodid: bytes = bytes(16)  # 32
    configid: bytes = bytes(64)  # 192
    configsvn: int = 0  # 260, u16
    isvfamilyid: bytes = bytes(16)  # 304

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed` on another size than 384 bytes or reserved bytes that are not zero."""
        cls.check(data)
        (
            cpusvn, misc, cet, ext_prod_id, flags, xfrm, mrenclave, mrsigner, configid, prodid, svn, configsvn, family,
            report_data,
        ) = _BODY.unpack(data)  # fmt: skip
        return cls(
            cpusvn, Attributes(flags, xfrm), mrenclave, mrsigner, prodid, svn, report_data,
            misc, cet, ext_prod_id, configid, configsvn, family,
        )  # fmt: skip

    @classmethod
    def check(cls, data: bytes) -> None:
        """Return if `parse` would; raises as it does."""
        if len(data) != cls.SIZE:
            end = "truncated" if len(data) < cls.SIZE else "trailing"
            raise Malformed(f"{_WHAT}-{end}", f"A report's body has {cls.SIZE} bytes, not {len(data)}.")
        if data[21:32] + data[96:128] + data[160:192] + data[262:304] != _RESERVED:
            raise Malformed(f"{_WHAT}-reserved", "Reserved bytes of a report must be zero.")

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """The next 384 bytes of a structure that holds a report body."""
        return cls.parse(cursor.take(cls.SIZE, "report body"))

    def build(self) -> bytes:
        """The 384 bytes."""
        writer = Writer().raw(self.cpusvn, 16).uint(self.miscselect, 4).uint(self.cet_attributes, 1).zero(11)
        writer.raw(self.isvextprodid, 16).raw(self.attributes.build(), 16)
        writer.raw(self.mrenclave, 32).zero(32).raw(self.mrsigner, 32).zero(32)
        writer.raw(self.configid, 64)
        writer.uint(self.isvprodid, 2).uint(self.isvsvn, 2).uint(self.configsvn, 2).zero(42)
        return writer.raw(self.isvfamilyid, 16).raw(self.report_data, 64).build()


@dataclass(frozen=True, slots=True)
class Report:
    """REPORT, 432 bytes (SDM 3D, 35.15)."""

    SIZE: ClassVar[int] = 432

    body: ReportBody  # 0
    keyid: bytes  # 384, 32 bytes
    mac: bytes  # 416, 16 bytes: AES-128-CMAC over the body, with the target's report key

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed` on another size than 432 bytes or reserved bytes that are not zero."""
        cursor = Cursor(data, "report")
        report = cls(body=ReportBody.read(cursor), keyid=cursor.take(32, "keyid"), mac=cursor.take(16, "mac"))
        cursor.finish()
        return report

    def build(self) -> bytes:
        """The 432 bytes."""
        return Writer().raw(self.body.build(), 384).raw(self.keyid, 32).raw(self.mac, 16).build()


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """TARGETINFO, 512 bytes: the enclave that a report is made for (SDM 3D, 35.16)."""

    SIZE: ClassVar[int] = 512

    mrenclave: bytes  # 0, 32 bytes
    attributes: Attributes  # 32
    cet_attributes: int = 0  # 48, u8
    configsvn: int = 0  # 50, u16
    miscselect: int = 0  # 52, u32
    configid: bytes = bytes(64)  # 64

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed` on another size than 512 bytes or reserved bytes that are not zero."""
        cursor = Cursor(data, "targetinfo")
        mrenclave, attributes = cursor.take(32, "mrenclave"), Attributes.read(cursor)
        cet_attributes = cursor.uint(1, "cet_attributes")
        cursor.zero(1, "at 49")
        configsvn, miscselect = cursor.uint(2, "configsvn"), cursor.uint(4, "miscselect")
        cursor.zero(8, "at 56")
        configid = cursor.take(64, "configid")
        cursor.zero(384, "at 128")
        cursor.finish()
        return cls(mrenclave, attributes, cet_attributes, configsvn, miscselect, configid)

    def build(self) -> bytes:
        """The 512 bytes."""
        writer = Writer().raw(self.mrenclave, 32).raw(self.attributes.build(), 16)
        writer.uint(self.cet_attributes, 1).zero(1).uint(self.configsvn, 2).uint(self.miscselect, 4).zero(8)
        return writer.raw(self.configid, 64).zero(384).build()
