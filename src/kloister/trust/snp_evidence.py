"""A genuine SEV-SNP guest, as a type; see `trust/evidence.py`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from kloister.formats.snp import Product, SigningKey, SnpReport, Tcb, VekExtensions
from kloister.formats.snp.hcl import MAX_RUNTIME
from kloister.formats.wire import load_json
from kloister.trust.amd_root import AmdRoot
from kloister.trust.evidence import Claims, Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSnp(Verified):
    """A genuine SEV-SNP guest. AMD publishes no status of a TCB: `tcb` is None, and the levels are claims.

    `runtime` is what an Azure blob brought with the report and the report binds: JSON text, else None.
    """

    tee: ClassVar[str] = "snp"

    root: AmdRoot
    report: SnpReport = field(repr=False)
    product: Product
    vek: VekExtensions = field(repr=False)
    runtime: bytes | None = field(default=None, repr=False)

    @property
    def claims(self) -> Claims:
        """What the report says, in parts; `chip_id` names one machine: `trust/identifiers.py` hides it."""
        return MappingProxyType(
            {
                **_guest(self.report),
                **_policy(self.report),
                **_platform(self.report),
                **self._key(),
                **self._levels(),
                **self._runtime(),
            }
        )

    def _key(self) -> dict[str, str | int | bool]:
        vlek = self.report.flags.signing_key == SigningKey.VLEK
        claims: dict[str, str | int | bool] = {
            "product": str(self.product),
            "signing_key": "vlek" if vlek else "vcek",
        }
        if self.vek.csp_id is not None:
            claims["csp_id"] = self.vek.csp_id
        return claims

    def _runtime(self) -> dict[str, str]:
        """Of Azure's runtime data: its hash, and what the VM's user had put into it."""
        if self.runtime is None:
            return {}
        user_data = load_json(self.runtime, "hcl-runtime", MAX_RUNTIME).get("user-data")
        hashed = {"runtime_sha256": hashlib.sha256(self.runtime).hexdigest()}
        return {**hashed, "user_data": user_data} if isinstance(user_data, str) else hashed

    def _levels(self) -> dict[str, int]:
        report = self.report
        versions = {
            "reported": report.reported_tcb,
            "committed": report.committed_tcb,
            "current": report.current_tcb,
            "launch": report.launch_tcb,
        }
        return {
            f"{which}_tcb_{name}": level
            for which, raw in versions.items()
            for name, level in Tcb.parse(raw, self.product).named().items()
        }


def _guest(report: SnpReport) -> dict[str, str | int | bool]:
    return {
        "measurement": report.measurement.hex(),
        "report_data": report.report_data.hex(),
        "host_data": report.host_data.hex(),
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "guest_svn": report.guest_svn,
        "vmpl": report.vmpl,
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "author_key_present": report.flags.author_key,
        "report_id": report.report_id.hex(),
        "report_id_ma": report.report_id_ma.hex(),
        "report_version": report.version,
    }


def _policy(report: SnpReport) -> dict[str, str | int | bool]:
    bits = report.policy.named()
    debug = bits.pop("debug")
    named = {f"policy_{name}": bit for name, bit in bits.items()}
    return {"policy": f"{report.policy.value:016x}", "policy_abi": report.policy.abi, "debug": debug, **named}


def _platform(report: SnpReport) -> dict[str, str | int | bool]:
    claims: dict[str, str | int | bool] = {
        "platform_info": f"{report.platform_info.value:016x}",
        **{f"platform_{name}": bit for name, bit in report.platform_info.named().items()},
        "firmware_current": str(report.current_version),
        "firmware_committed": str(report.committed_version),
        "chip_id": report.chip_id.hex(),
        "chip_key_masked": report.flags.mask_chip_key,
    }
    if report.cpuid is not None:
        cpuid = report.cpuid
        claims |= {"cpu_family": cpuid.family, "cpu_model": cpuid.model, "cpu_stepping": cpuid.stepping}
    if report.launch_mitigations is not None and report.current_mitigations is not None:
        claims["launch_mitigations"] = f"{report.launch_mitigations:016x}"
        claims["current_mitigations"] = f"{report.current_mitigations:016x}"
    return claims
