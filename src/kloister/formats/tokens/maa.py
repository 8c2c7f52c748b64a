"""Claims of Azure Attestation's tokens about genuine reports: names and forms are Microsoft's (token examples, 2026).

Hexadecimal is lower case and in the order of the bytes. Which claims a token has beyond the evidence's own is decided
by the service.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from kloister.formats.sgx import Flag, ReportBody
from kloister.formats.snp import Product, SnpReport, Tcb
from kloister.formats.tdx import TdFlag, TdReport
from kloister.formats.wire import b64url

SGX, SNP, TDX, TPM = "sgx", "sevsnpvm", "tdxvm", "tpm"
TDX_PROFILE = "https://aka.ms/maa-eat-profile-tdxvm"

Claims = dict[str, Any]


def sgx_claims(report: ReportBody) -> Claims:
    """Of an enclave; the last four only where it has KSS, without which they are zero."""
    claims: Claims = {
        "x-ms-sgx-is-debuggable": report.attributes.has(Flag.DEBUG),
        "x-ms-sgx-mrenclave": report.mrenclave.hex(),
        "x-ms-sgx-mrsigner": report.mrsigner.hex(),
        "x-ms-sgx-product-id": report.isvprodid,
        "x-ms-sgx-svn": report.isvsvn,
        "x-ms-sgx-report-data": report.report_data.hex(),
    }
    if report.attributes.has(Flag.KSS):
        claims["x-ms-sgx-config-id"] = report.configid.hex()
        claims["x-ms-sgx-config-svn"] = report.configsvn
        claims["x-ms-sgx-isv-extended-product-id"] = report.isvextprodid.hex()
        claims["x-ms-sgx-isv-family-id"] = report.isvfamilyid.hex()
    return claims


def snp_claims(report: SnpReport, product: Product) -> Claims:
    """Of a SEV-SNP guest; the levels are those of REPORTED_TCB."""
    tcb, bits = Tcb.parse(report.reported_tcb, product), report.policy.named()
    claims: Claims = {
        "authorkeydigest": report.author_key_digest.hex(),
        "bootloader-svn": tcb.bootloader,
        "familyId": report.family_id.hex(),
        "guestsvn": report.guest_svn,
        "hostdata": report.host_data.hex(),
        "idkeydigest": report.id_key_digest.hex(),
        "imageId": report.image_id.hex(),
        "is-debuggable": bits["debug"],
        "launchmeasurement": report.measurement.hex(),
        "microcode-svn": tcb.microcode,
        "migration-allowed": bits["migrate_ma"],
        "reportdata": report.report_data.hex(),
        "reportid": report.report_id.hex(),
        "smt-allowed": bits["smt"],
        "snpfw-svn": tcb.snp,
        "tee-svn": tcb.tee,
        "vmpl": report.vmpl,
    }
    return {f"x-ms-sevsnpvm-{name}": value for name, value in claims.items()}


def tdx_claims(report: TdReport, tcb_status: str) -> Claims:
    """Of a trust domain, as the EAT profile has them."""
    attributes = report.td_attributes
    return {
        "attester_tcb_status": tcb_status,
        "dbgstat": "enabled" if report.has(TdFlag.DEBUG) else "disabled",
        "eat_profile": TDX_PROFILE,
        "intuse": "generic",
        "tdx_mrconfigid": report.mrconfigid.hex(),
        "tdx_mrowner": report.mrowner.hex(),
        "tdx_mrownerconfig": report.mrownerconfig.hex(),
        "tdx_mrseam": report.mrseam.hex(),
        "tdx_mrsignerseam": report.mrsignerseam.hex(),
        "tdx_mrtd": report.mrtd.hex(),
        "tdx_report_data": report.report_data.hex(),
        **{f"tdx_rtmr{index}": value.hex() for index, value in enumerate(report.rtmrs)},
        "tdx_seam_attributes": report.seam_attributes.hex(),
        "tdx_seamsvn": int.from_bytes(report.tee_tcb_svn[:2], "little"),
        "tdx_td_attributes": attributes.to_bytes(8, "little").hex(),
        "tdx_td_attributes_debug": report.has(TdFlag.DEBUG),
        "tdx_td_attributes_key_locker": report.has(TdFlag.KL),
        "tdx_td_attributes_perfmon": report.has(TdFlag.PERFMON),
        "tdx_td_attributes_protection_keys": report.has(TdFlag.PKS),
        "tdx_td_attributes_septve_disable": report.has(TdFlag.SEPT_VE_DISABLE),
        "tdx_tee_tcb_svn": report.tee_tcb_svn.hex(),
        "tdx_xfam": report.xfam.hex(),
    }


def collateral_hashes(parts: Mapping[str, bytes]) -> Claims:
    """`x-ms-sgx-collateral` without the quote's: SHA-256 of each part's exact bytes, hexadecimal."""
    return {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}


def held_data(data: bytes) -> Claims:
    """Binary runtime data of an enclave: the claim and its two older names."""
    return dict.fromkeys(("aas-ehd", "maa-ehd", "x-ms-sgx-ehd"), b64url(data))
