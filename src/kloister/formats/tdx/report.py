"""The three layouts of a trust domain's report. Source: Intel TDX DCAP Quoting Library API, A.3 (quote bodies)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

from kloister.errors import Malformed, Misused
from kloister.formats.tdx.attributes import TdFlag

SIZE_10 = 584  # TDX 1.0
SIZE_15 = 648  # TDX 1.5
SIZE_15EX = 885  # TDX 1.5, extended
_TD10 = struct.Struct("<16s48s48s8sQ8s48s48s48s48s48s48s48s48s64s")
_TD15 = struct.Struct("<16s48s")
_TD15EX = struct.Struct("<B32s48s48s8s16s16s12s48s8s")


@dataclass(frozen=True, slots=True, kw_only=True)
class TdExtension:
    """What the extended 1.5 report adds behind offset 648: the domain's own history."""

    vm_id: int  # 648: u8, 0 the domain itself, 1 to 3 its partitions
    td_id: bytes  # 649: 32
    devinfo: bytes  # 681: 48
    init_servtd_hash: bytes  # 729: 48
    init_servtd_attributes: bytes  # 777: 8
    init_cpusvn: bytes  # 785: 16
    init_tee_tcb_svn: bytes  # 801: 16
    init_tee_fmspc: bytes  # 817: 12
    cur_servtd_hash: bytes  # 829: 48
    cur_servtd_attributes: bytes  # 877: 8

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the 237 bytes."""
        values = _TD15EX.unpack(data)
        return cls(**dict(zip(_EXTENSION_FIELDS, values, strict=True)))

    def build(self) -> bytes:
        """The 237 bytes."""
        return _TD15EX.pack(*(getattr(self, name) for name in _EXTENSION_FIELDS))


_EXTENSION_FIELDS = (
    "vm_id", "td_id", "devinfo", "init_servtd_hash", "init_servtd_attributes", "init_cpusvn", "init_tee_tcb_svn",
    "init_tee_fmspc", "cur_servtd_hash", "cur_servtd_attributes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TdReport:
    """A trust domain's report, 584 bytes; 648 with the TDX 1.5 fields, 885 with the extension as well."""

    tee_tcb_svn: bytes  # 0: 16, of the platform when the domain was launched
    mrseam: bytes  # 16: 48, measurement of the TDX module
    mrsignerseam: bytes  # 64: 48, zero: Intel's own module
    seam_attributes: bytes  # 112: 8
    td_attributes: TdFlag  # 120: u64
    xfam: bytes  # 128: 8
    mrtd: bytes  # 136: 48, measurement of the domain's first memory
    mrconfigid: bytes  # 184: 48
    mrowner: bytes  # 232: 48
    mrownerconfig: bytes  # 280: 48
    rtmrs: tuple[bytes, bytes, bytes, bytes]  # 328, 376, 424, 472: 48 each
    report_data: bytes  # 520: 64
    tee_tcb_svn2: bytes | None = None  # 584: 16, of the platform now (TDX 1.5)
    mrservicetd: bytes | None = None  # 600: 48 (TDX 1.5)
    extension: TdExtension | None = None  # 648: 237

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a report; its size says which layout it has.

        Raises:
            Malformed: `td-report-size`.
        """
        size = len(data)
        if size not in (SIZE_10, SIZE_15, SIZE_15EX):
            raise Malformed("td-report-size", f"There is no TD report of {size} bytes.")
        (
            svn, seam, signer, seam_attributes, attributes, xfam, mrtd, mrconfigid, mrowner, mrownerconfig,
            rtmr0, rtmr1, rtmr2, rtmr3, report_data,
        ) = _TD10.unpack_from(data)  # fmt: skip
        svn2, mrservicetd = _TD15.unpack_from(data, SIZE_10) if size >= SIZE_15 else (None, None)
        extension = TdExtension.parse(data[SIZE_15:]) if size == SIZE_15EX else None
        return cls(
            svn, seam, signer, seam_attributes, TdFlag(attributes), xfam, mrtd, mrconfigid, mrowner, mrownerconfig,
            (rtmr0, rtmr1, rtmr2, rtmr3), report_data, svn2, mrservicetd, extension,
        )  # fmt: skip

    def has(self, flag: TdFlag) -> bool:
        """Whether all bits of `flag` are set."""
        return self.td_attributes & flag == flag

    def build(self) -> bytes:
        """The report in the shortest layout that holds its fields."""
        base = _TD10.pack(
            self.tee_tcb_svn, self.mrseam, self.mrsignerseam, self.seam_attributes, self.td_attributes, self.xfam,
            self.mrtd, self.mrconfigid, self.mrowner, self.mrownerconfig, *self.rtmrs, self.report_data,
        )  # fmt: skip
        if self.tee_tcb_svn2 is None or self.mrservicetd is None:
            if self.tee_tcb_svn2 or self.mrservicetd or self.extension:
                raise Misused("td-report-fields", "A TD report has all of the TDX 1.5 fields or none.")
            return base
        longer = base + _TD15.pack(self.tee_tcb_svn2, self.mrservicetd)
        return longer + self.extension.build() if self.extension else longer
