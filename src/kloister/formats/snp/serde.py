"""A report as CoCo's guests send it in JSON: the fields of the Rust crate `sev`, whose names changed with its versions.

Source: KBS protocol, evidence of SNP (`attestation_report`): numbers, and arrays of numbers for bytes. The JSON leaves
reserved bytes out, so the report is put together again with zeros there; its signature says whether that is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kloister.errors import Malformed
from kloister.formats.snp.bits import Flags, GuestPolicy, PlatformInfo
from kloister.formats.snp.report import NUMBER_SIZE, VERSIONS, Cpuid, FirmwareVersion, SnpReport
from kloister.formats.snp.tcb import Tcb

_U8, _U32, _U64 = 0xFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_FLAGS = ("key_info", "author_key_en", "_author_key_en")  # by age, the newest first
_CPUID = ("cpuid_fam_id", "cpuid_mod_id", "cpuid_step")
_MITIGATIONS = ("launch_mit_vector", "current_mit_vector")


def report_of_json(value: Any) -> bytes:
    """The 1184 bytes. Raises `Malformed`: `snp-json-field`, or the codes of `SnpReport.parse`."""
    if not isinstance(value, Mapping):
        raise _unfit("attestation_report")
    cpuid = [value.get(name) for name in _CPUID]
    mitigations = [_optional(value, name, _U64) for name in _MITIGATIONS]
    signature = _object(value, "signature")
    version = _number(value, "version", _U32)
    if version not in VERSIONS:
        raise _unfit("version")
    report = SnpReport(
        version=version,
        guest_svn=_number(value, "guest_svn", _U32),
        policy=GuestPolicy(_number(value, "policy", _U64)),
        family_id=_octets(value, "family_id", 16),
        image_id=_octets(value, "image_id", 16),
        vmpl=_number(value, "vmpl", _U32),
        current_tcb=_tcb(value, "current_tcb"),
        platform_info=PlatformInfo(_number(value, "plat_info", _U64)),
        flags=Flags(next((_number(value, name, _U32) for name in _FLAGS if name in value), 0)),
        report_data=_octets(value, "report_data", 64),
        measurement=_octets(value, "measurement", 48),
        host_data=_octets(value, "host_data", 32),
        id_key_digest=_octets(value, "id_key_digest", 48),
        author_key_digest=_octets(value, "author_key_digest", 48),
        report_id=_octets(value, "report_id", 32),
        report_id_ma=_octets(value, "report_id_ma", 32),
        reported_tcb=_tcb(value, "reported_tcb"),
        cpuid=Cpuid(*(_number(value, name, _U8) for name in _CPUID)) if any(one is not None for one in cpuid) else None,
        chip_id=_octets(value, "chip_id", 64),
        committed_tcb=_tcb(value, "committed_tcb"),
        current_version=_firmware(value, "current"),
        committed_version=_firmware(value, "committed"),
        launch_tcb=_tcb(value, "launch_tcb"),
        launch_mitigations=mitigations[0],
        current_mitigations=mitigations[1],
        r=int.from_bytes(_octets(signature, "r", NUMBER_SIZE), "little"),
        s=int.from_bytes(_octets(signature, "s", NUMBER_SIZE), "little"),
    )
    return report.build()


def _tcb(value: Mapping[str, Any], name: str) -> bytes:
    found = _object(value, name)
    levels = {part: _number(found, part, _U8) for part in ("bootloader", "tee", "snp", "microcode")}
    return Tcb(**levels, fmc=_optional(found, "fmc", _U8)).build()


def _firmware(value: Mapping[str, Any], name: str) -> FirmwareVersion:
    """`{"current": {"major", ..}}`, or `current_major` and so on in older versions."""
    parts = ("major", "minor", "build")
    if name in value:
        found = _object(value, name)
        return FirmwareVersion(*(_number(found, part, _U8) for part in parts))
    return FirmwareVersion(*(_number(value, f"{name}_{part}", _U8) for part in parts))


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if not isinstance(found, Mapping):
        raise _unfit(name)
    return found


def _number(value: Mapping[str, Any], name: str, limit: int) -> int:
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= limit:
        raise _unfit(name)
    return found


def _optional(value: Mapping[str, Any], name: str, limit: int) -> int | None:
    return None if value.get(name) is None else _number(value, name, limit)


def _octets(value: Mapping[str, Any], name: str, size: int) -> bytes:
    found = value.get(name)
    if not isinstance(found, list) or len(found) != size:
        raise _unfit(name)
    return octets_of(found, name)


def octets_of(value: list[Any], name: str) -> bytes:
    """Bytes from an array of numbers. Raises `Malformed`: `snp-json-field`."""
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= _U8 for one in value):
        raise _unfit(name)
    return bytes(value)


def _unfit(name: str) -> Malformed:
    return Malformed("snp-json-field", f"The report in JSON has no {name}, or one of another kind.")
