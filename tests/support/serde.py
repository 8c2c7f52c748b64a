"""SNP reports as guests send them in JSON."""

from __future__ import annotations

from typing import Any

from kloister.formats.snp import SnpReport


def _tcb(raw: bytes, turin: bool) -> dict[str, Any]:  # noqa: FBT001 -- a test's own
    if turin:
        return {"fmc": raw[0], "bootloader": raw[1], "tee": raw[2], "snp": raw[3], "microcode": raw[7]}
    return {"fmc": None, "bootloader": raw[0], "tee": raw[1], "snp": raw[6], "microcode": raw[7]}


def serde(data: bytes, old: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 -- a test's own
    """As the guests' library writes a report; `old`: as its earlier versions did."""
    one = SnpReport.parse(data)
    turin = one.cpuid is not None and one.cpuid.family == 0x1A
    octets = {
        name: list(getattr(one, name))
        for name in ("family_id", "image_id", "report_data", "measurement", "host_data", "id_key_digest",
                     "author_key_digest", "report_id", "report_id_ma", "chip_id")
    }  # fmt: skip
    versions: dict[str, Any] = {}
    for name, version in (("current", one.current_version), ("committed", one.committed_version)):
        parts = {"major": version.major, "minor": version.minor, "build": version.build}
        versions |= {f"{name}_{part}": value for part, value in parts.items()} if old else {name: parts}
    numbers = {"r": list(one.r.to_bytes(72, "little")), "s": list(one.s.to_bytes(72, "little"))}
    return {
        "version": one.version, "guest_svn": one.guest_svn, "policy": one.policy.value, "vmpl": one.vmpl, "sig_algo": 1,
        "plat_info": one.platform_info.value, "_author_key_en" if old else "key_info": one.flags.value,
        "current_tcb": _tcb(one.current_tcb, turin), "reported_tcb": _tcb(one.reported_tcb, turin),
        "committed_tcb": _tcb(one.committed_tcb, turin), "launch_tcb": _tcb(one.launch_tcb, turin),
        "cpuid_fam_id": one.cpuid.family if one.cpuid else None, "cpuid_mod_id": one.cpuid.model if one.cpuid else None,
        "cpuid_step": one.cpuid.stepping if one.cpuid else None, "launch_mit_vector": one.launch_mitigations,
        "current_mit_vector": one.current_mitigations, "signature": numbers, **octets, **versions,
    }  # fmt: skip
