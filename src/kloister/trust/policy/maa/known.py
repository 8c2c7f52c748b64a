"""Names that policies can count on: claims of evidence, properties, and what a token has of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_TEXT, _INTEGER, _BOOLEAN = "String", "Integer", "Boolean"

_SGX = {
    "is-debuggable": _BOOLEAN,
    "mrenclave": _TEXT,
    "mrsigner": _TEXT,
    "product-id": _INTEGER,
    "svn": _INTEGER,
    "report-data": _TEXT,
    "ehd": _TEXT,
    "collateral": _TEXT,
    "config-id": _TEXT,
    "config-svn": _INTEGER,
    "isv-extended-product-id": _TEXT,
    "isv-family-id": _TEXT,
}
_SNP = {
    **dict.fromkeys(
        ("authorkeydigest", "idkeydigest", "launchmeasurement", "reportdata", "hostdata", "reportid"), _TEXT
    ),
    **dict.fromkeys(("familyId", "imageId", "uvm-endorsement"), _TEXT),
    **dict.fromkeys(("guestsvn", "vmpl", "bootloader-svn", "tee-svn", "snpfw-svn", "microcode-svn"), _INTEGER),
    **dict.fromkeys(("is-debuggable", "migration-allowed", "smt-allowed"), _BOOLEAN),
}
_TDX = {
    **dict.fromkeys(("mrseam", "mrsignerseam", "mrtd", "mrconfigid", "mrowner", "mrownerconfig"), _TEXT),
    **dict.fromkeys(("rtmr0", "rtmr1", "rtmr2", "rtmr3", "report_data", "tee_tcb_svn"), _TEXT),
    **dict.fromkeys(("seam_attributes", "td_attributes", "xfam"), _TEXT),
    "seamsvn": _INTEGER,
    **dict.fromkeys(
        (f"td_attributes_{bit}" for bit in ("debug", "septve_disable", "protection_keys", "key_locker", "perfmon")),
        _BOOLEAN,
    ),
}
_COMMON = {
    **dict.fromkeys(("x-ms-ver", "x-ms-attestation-type", "x-ms-runtime", "x-ms-inittime", "nonce"), _TEXT),
    **dict.fromkeys(("aas-ehd", "maa-ehd", "maa-attestationcollateral", "x-ms-compliance-status"), _TEXT),
    **dict.fromkeys(("dbgstat", "intuse", "eat_profile", "attester_tcb_status"), _TEXT),
    **dict.fromkeys(("events", "pcrs", "bootEvents"), _TEXT),  # JSON of TPM evidence, version 1.2
}
_OURS = {
    **dict.fromkeys(
        ("root", "advisories", "collateral", "fmspc", "nonce", "tcb-date", "tcb-level", "tcb-status"), _TEXT
    ),
    "simulated": _BOOLEAN,
    "tcb-evaluation-number": _INTEGER,
}

# The type of value of each claim that evidence brings; the last are our own additions
INCOMING: Mapping[str, str] = MappingProxyType(
    _COMMON
    | {f"x-ms-sgx-{name}": kind for name, kind in _SGX.items()}
    | {f"x-ms-sevsnpvm-{name}": kind for name, kind in _SNP.items()}
    | {f"tdx_{name}": kind for name, kind in _TDX.items()}
    | {f"kloister-{name}": kind for name, kind in _OURS.items()}
)

# What `issueproperty` can tell the service
PROPERTIES: Mapping[str, str] = MappingProxyType({
    "x-ms-sgx-tcbidentifier": _TEXT,
    "require_valid_aik_cert": _BOOLEAN,
    "required_pcr_mask": _INTEGER,
    "report_validity_in_minutes": _INTEGER,
    "omit_x5c": _BOOLEAN,
})  # fmt: skip

# Names that every token has of its own
TOKEN = frozenset({
    "aud", "exp", "iat", "iss", "jti", "nbf", "x-ms-policy", "x-ms-policy-hash", "x-ms-policy-signer",
})  # fmt: skip
_POLICYS = frozenset({"x-ms-compliance-status"})  # Azure's policies for virtual machines issue it; nobody else says it


def is_reserved(name: str) -> bool:
    """Whether only the service says this at the top of a token: a policy's claim of the name is in `x-ms-policy` only.

    It holds for tokens without the claim, too: leaving a name out says something.
    """
    return name not in _POLICYS and (name in TOKEN or name in INCOMING or name.startswith("kloister-"))
