from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from kloister.formats.sgx.attributes import Attributes
from kloister.formats.wire import Cursor, Writer


@dataclass(frozen=True, slots=True)
class Secs:
    """SGX Enclave Control Structure, 4096 bytes (SDM 3D, 35.7).

    ISVFAMILYID and ISVEXTPRODID are kept by the processor outside the architectural layout and are not here.
    """

    SIZE: ClassVar[int] = 4096

    size: int  # 0, u64: bytes of address range, a power of two
    attributes: Attributes  # 48
    base: int = 0  # 8, u64
    ssa_frame_pages: int = 4  # 16, u32: pages of one SSA frame
    miscselect: int = 0  # 20, u32
    cet_legacy_bitmap: int = 0  # 24, u64
    cet_attributes: int = 0  # 32, u8
    mrenclave: bytes = bytes(32)  # 64
    mrsigner: bytes = bytes(32)  # 128
    configid: bytes = bytes(64)  # 192
    isvprodid: int = 0  # 256, u16
    isvsvn: int = 0  # 258, u16
    configsvn: int = 0  # 260, u16

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed` on another size than 4096 bytes or reserved bytes that are not zero."""
        cursor = Cursor(data, "secs")
        size, base = cursor.uint(8, "size"), cursor.uint(8, "base")
        ssa_frame_pages, miscselect = cursor.uint(4, "ssa_frame_pages"), cursor.uint(4, "miscselect")
        cet_legacy_bitmap, cet_attributes = cursor.uint(8, "cet_legacy_bitmap"), cursor.uint(1, "cet_attributes")
        cursor.zero(15, "at 33")
        attributes = Attributes.read(cursor)
        mrenclave = cursor.take(32, "mrenclave")
        cursor.zero(32, "at 96")
        mrsigner = cursor.take(32, "mrsigner")
        cursor.zero(32, "at 160")
        secs = cls(
            size=size,
            base=base,
            ssa_frame_pages=ssa_frame_pages,
            miscselect=miscselect,
            cet_legacy_bitmap=cet_legacy_bitmap,
            cet_attributes=cet_attributes,
            attributes=attributes,
            mrenclave=mrenclave,
            mrsigner=mrsigner,
            configid=cursor.take(64, "configid"),
            isvprodid=cursor.uint(2, "isvprodid"),
            isvsvn=cursor.uint(2, "isvsvn"),
            configsvn=cursor.uint(2, "configsvn"),
        )
        cursor.zero(3834, "at 262")
        cursor.finish()
        return secs

    def build(self) -> bytes:
        """The 4096 bytes."""
        writer = Writer().uint(self.size, 8).uint(self.base, 8)
        writer.uint(self.ssa_frame_pages, 4).uint(self.miscselect, 4)
        writer.uint(self.cet_legacy_bitmap, 8).uint(self.cet_attributes, 1).zero(15)
        writer.raw(self.attributes.build(), 16)
        writer.raw(self.mrenclave, 32).zero(32).raw(self.mrsigner, 32).zero(32)
        writer.raw(self.configid, 64)
        writer.uint(self.isvprodid, 2).uint(self.isvsvn, 2).uint(self.configsvn, 2).zero(3834)
        return writer.build()
