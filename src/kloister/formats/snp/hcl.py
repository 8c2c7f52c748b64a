"""Azure's attestation blob of a confidential VM, as it stands in the vTPM at NV index 0x01400001.

"HCL" is the host compatibility layer, Azure's paravisor. Source: Microsoft, "Guest attestation report" (Azure
confidential VMs): header, hardware report, runtime data, whose hash the hardware report binds.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.snp.report import SnpReport
from kloister.formats.wire import load_json

MAGIC = b"HCLA"
MAX_SIZE = 64 * 1024  # bytes; an NV index has some 2600
MAX_RUNTIME = 32 * 1024  # bytes of the JSON text; real ones have some 1300
REPORT_AT = 0x20
SNP, TDX = 2, 4  # types of the hardware's report
_SHA256 = 1
_HEADER = struct.Struct("<4s IIII 12x")  # magic, version, size, request, status
_RUNTIME = struct.Struct("<IIIII")  # size, version, type of report, type of hash, size of the JSON text
_RUNTIME_AT = REPORT_AT + SnpReport.SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class HclBlob:
    """The blob, parsed; nothing about it has been verified."""

    report: bytes = field(repr=False)  # 0x20, 1184: the SNP report, or a TD's (1024 bytes) and zeros
    runtime: bytes = field(repr=False)  # 0x4D4: the exact JSON text
    version: int = 2  # 0x04, u32
    report_type: int = SNP

    @classmethod
    def parse(cls, data: bytes, report_type: int = SNP) -> Self:
        """Read the blob; what follows the runtime data is the padding of the NV index.

        Raises:
            Malformed: `hcl-size`, `hcl-magic`, `hcl-truncated`, `hcl-report-type` (not `report_type`), `hcl-hash-type`
                (not SHA-256), `hcl-reserved` (bytes behind the runtime data).
        """
        if len(data) > MAX_SIZE:
            raise Malformed("hcl-size", f"An HCL blob of {len(data)} bytes; at most {MAX_SIZE} are read.")
        if data[: len(MAGIC)] != MAGIC:
            raise Malformed("hcl-magic", 'An HCL blob starts with the letters "HCLA"; these bytes do not.')
        if len(data) < _RUNTIME_AT + _RUNTIME.size:
            raise Malformed("hcl-truncated", "The HCL blob ends before its runtime data.")
        version = _HEADER.unpack_from(data)[1]
        _, _, found, hash_type, size = _RUNTIME.unpack_from(data, _RUNTIME_AT)
        _check_types(found, report_type, hash_type)
        start = _RUNTIME_AT + _RUNTIME.size
        if not 0 < size <= min(MAX_RUNTIME, len(data) - start):
            raise Malformed("hcl-truncated", f"The HCL blob says that its runtime data has {size} bytes; it has not.")
        if any(data[start + size :]):
            raise Malformed("hcl-reserved", "Bytes that are not zero follow the HCL blob's runtime data.")
        return cls(
            version=version,
            report=data[REPORT_AT:_RUNTIME_AT],
            runtime=data[start : start + size],
            report_type=report_type,
        )

    def build(self) -> bytes:
        """The blob, without padding at its end."""
        size = len(self.runtime)
        header = _HEADER.pack(MAGIC, self.version, _RUNTIME_AT + _RUNTIME.size + size, 2, 0)
        return (
            header
            + self.report
            + _RUNTIME.pack(_RUNTIME.size + size, 1, self.report_type, _SHA256, size)
            + self.runtime
        )

    def claims(self) -> dict[str, Any]:
        """The runtime data, an object: the vTPM's keys, the VM's configuration, the caller's data.

        Raises:
            Malformed: `hcl-runtime-json`, `hcl-runtime-size`.
        """
        claims = load_json(self.runtime, "hcl-runtime", MAX_RUNTIME)
        if not isinstance(claims, dict):
            raise Malformed("hcl-runtime-json", "The runtime data of the HCL blob is not a JSON object.")
        return claims

    @property
    def binding(self) -> bytes:
        """SHA-256 of the runtime data: the first 32 bytes of the report's data must be this."""
        return hashlib.sha256(self.runtime).digest()


def _check_types(found: int, wanted: int, hash_type: int) -> None:
    if found != wanted:
        names = {SNP: "an SNP report", TDX: "a TD's report"}
        raise Malformed(
            "hcl-report-type",
            f"The HCL blob holds {names.get(found, 'a report')} (type {found}), not {names.get(wanted)}.",
            "For a TDX VM, give its quote, or its evidence for a key broker.",
        )
    if hash_type != _SHA256:
        raise Malformed("hcl-hash-type", f"The HCL blob binds its runtime data by hash {hash_type}; only 1 is known.")
