"""ATTESTATION_REPORT, versions 2 to 5. Source: AMD 56860, SEV Secure Nested Paging Firmware ABI, table 23."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Self

from kloister.errors import Malformed
from kloister.formats.snp.bits import Flags, GuestPolicy, PlatformInfo

SIGNED_SIZE = 0x2A0  # bytes from the start that the signature covers
VERSIONS = (2, 3, 4, 5)
NUMBER_SIZE = 72  # bytes of r, and of s
_WITH_CPUID, _WITH_MITIGATIONS = 3, 5  # first versions
_ECDSA_P384_SHA384 = 1
_BODY = struct.Struct(
    "<IIQ 16s16s II 8sQI4x"  # 0x000 version, SVN, policy, ids, VMPL, algorithm, current TCB, platform, flags
    "64s48s32s 48s48s 32s32s 8s"  # 0x050 report data, measurement, host data, key digests, report ids, reported TCB
    "BBB21x 64s 8s"  # 0x188 CPUID, chip id, committed TCB
    "BBBx BBBx 8s QQ152x"  # 0x1E8 firmware versions (build, minor, major), launch TCB, mitigation vectors
)
_SIGNATURE = struct.Struct(f"<{NUMBER_SIZE}s{NUMBER_SIZE}s")  # 0x2A0; zeros follow


@dataclass(frozen=True, slots=True)
class Cpuid:
    """The processor that made the report: combined family and model, and stepping."""

    family: int  # 0x188
    model: int  # 0x189
    stepping: int  # 0x18A


@dataclass(frozen=True, slots=True)
class FirmwareVersion:
    """A version of the SNP firmware."""

    major: int
    minor: int
    build: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.build}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpReport:
    """A report, parsed; nothing about it has been verified. Integers are little-endian.

    TCB versions stay bytes, because their layout depends on the product (`Tcb.parse`). What reserved bytes in the
    signed part hold is tolerated: the signature covers them, and nothing here reads them.
    """

    SIZE: ClassVar[int] = 0x4A0

    version: int  # 0x00, u32: 2 to 5
    guest_svn: int = 0  # 0x04, u32
    policy: GuestPolicy  # 0x08, u64
    family_id: bytes = bytes(16)  # 0x10
    image_id: bytes = bytes(16)  # 0x20
    vmpl: int = 0  # 0x30, u32
    current_tcb: bytes  # 0x38, 8
    platform_info: PlatformInfo  # 0x40, u64
    flags: Flags  # 0x48, u32
    report_data: bytes  # 0x50, 64
    measurement: bytes  # 0x90, 48
    host_data: bytes = bytes(32)  # 0xC0
    id_key_digest: bytes = bytes(48)  # 0xE0
    author_key_digest: bytes = bytes(48)  # 0x110
    report_id: bytes = bytes(32)  # 0x140
    report_id_ma: bytes = b"\xff" * 32  # 0x160; ones: no migration agent
    reported_tcb: bytes  # 0x180, 8
    cpuid: Cpuid | None = None  # 0x188, 3; from version 3 on
    chip_id: bytes = field(repr=False)  # 0x1A0, 64: names one machine; zero where it is masked
    committed_tcb: bytes  # 0x1E0, 8
    current_version: FirmwareVersion  # 0x1E8: build, minor, major
    committed_version: FirmwareVersion  # 0x1EC: build, minor, major
    launch_tcb: bytes  # 0x1F0, 8
    launch_mitigations: int | None = None  # 0x1F8, u64; from version 5 on
    current_mitigations: int | None = None  # 0x200, u64; from version 5 on
    r: int = field(default=0, repr=False)  # 0x2A0, 72
    s: int = field(default=0, repr=False)  # 0x2E8, 72

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the 1184 bytes.

        Raises:
            Malformed: `snp-report-truncated`, `snp-report-trailing`, `snp-report-version`, `snp-report-algorithm`,
                `snp-report-policy` (bit 17 must be one), `snp-report-reserved` (behind the signature).
        """
        _check_size(len(data))
        fields = _BODY.unpack_from(data)
        version, policy, algorithm = fields[0], GuestPolicy(fields[2]), fields[6]
        _check_constants(version, policy, algorithm)
        r, s = _SIGNATURE.unpack_from(data, SIGNED_SIZE)
        if any(data[SIGNED_SIZE + _SIGNATURE.size :]):
            raise Malformed("snp-report-reserved", "The reserved bytes behind the report's signature must be zero.")
        return cls(
            version=version,
            guest_svn=fields[1],
            policy=policy,
            family_id=fields[3],
            image_id=fields[4],
            vmpl=fields[5],
            current_tcb=fields[7],
            platform_info=PlatformInfo(fields[8]),
            flags=Flags(fields[9]),
            report_data=fields[10],
            measurement=fields[11],
            host_data=fields[12],
            id_key_digest=fields[13],
            author_key_digest=fields[14],
            report_id=fields[15],
            report_id_ma=fields[16],
            reported_tcb=fields[17],
            cpuid=Cpuid(*fields[18:21]) if version >= _WITH_CPUID else None,
            chip_id=fields[21],
            committed_tcb=fields[22],
            current_version=FirmwareVersion(*fields[25:22:-1]),
            committed_version=FirmwareVersion(*fields[28:25:-1]),
            launch_tcb=fields[29],
            launch_mitigations=fields[30] if version >= _WITH_MITIGATIONS else None,
            current_mitigations=fields[31] if version >= _WITH_MITIGATIONS else None,
            r=int.from_bytes(r, "little"),
            s=int.from_bytes(s, "little"),
        )

    def build(self) -> bytes:
        """The 1184 bytes, reserved ones zero."""
        numbers = (number.to_bytes(NUMBER_SIZE, "little") for number in (self.r, self.s))
        return (self.body() + _SIGNATURE.pack(*numbers)).ljust(self.SIZE, b"\0")

    def body(self) -> bytes:
        """The bytes that are to be signed."""
        cpuid = self.cpuid or Cpuid(0, 0, 0)
        current, committed = self.current_version, self.committed_version
        return _BODY.pack(
            *(self.version, self.guest_svn, self.policy.value, self.family_id, self.image_id, self.vmpl),
            *(_ECDSA_P384_SHA384, self.current_tcb, self.platform_info.value, self.flags.value),
            *(self.report_data, self.measurement, self.host_data, self.id_key_digest, self.author_key_digest),
            *(self.report_id, self.report_id_ma, self.reported_tcb),
            *(cpuid.family, cpuid.model, cpuid.stepping, self.chip_id, self.committed_tcb),
            *(current.build, current.minor, current.major),
            *(committed.build, committed.minor, committed.major),
            *(self.launch_tcb, self.launch_mitigations or 0, self.current_mitigations or 0),
        )


def _check_size(size: int) -> None:
    if size < SnpReport.SIZE:
        raise Malformed("snp-report-truncated", f"An SNP report has {SnpReport.SIZE} bytes; here are {size} only.")
    if size > SnpReport.SIZE:
        raise Malformed("snp-report-trailing", f"{size - SnpReport.SIZE} bytes follow the SNP report.")


def _check_constants(version: int, policy: GuestPolicy, algorithm: int) -> None:
    if version not in VERSIONS:
        raise Malformed(
            "snp-report-version",
            f"This is an SNP report of version {version}; known are {VERSIONS[0]} to {VERSIONS[-1]}.",
            "A newer report needs a newer Kloister.",
        )
    if algorithm != _ECDSA_P384_SHA384:
        raise Malformed("snp-report-algorithm", f"The report names signature algorithm {algorithm}; only 1 is known.")
    if not policy.well_formed:
        raise Malformed("snp-report-policy", "Bit 17 of the report's guest policy, which must be one, is zero.")
