"""The appraisal policy of a relying party: which genuine evidence is acceptable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from kloister.errors import Denied, Malformed
from kloister.formats.dcap import TcbStatus
from kloister.formats.wire import load_json, unhex
from kloister.trust.evidence import Verified

MAX_SIZE = 64 * 1024  # bytes of a policy document; real ones have some hundred
_U16 = 0xFFFF
_FIELDS = {"tcb", "sgx", "simulated"}
_TCB_FIELDS = {"accept"}
_SGX_FIELDS = {"mrenclave", "mrsigner", "isvprodid", "isvsvn", "debug"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalPolicy:
    """What is wanted; what is None is not asked for. The defaults admit up-to-date production hardware only."""

    accept: frozenset[TcbStatus] = frozenset({TcbStatus.UP_TO_DATE})
    debug: bool = False  # whether debug enclaves, which anybody can read, are acceptable
    simulated: bool = False  # whether a simulated platform, which proves nothing, is acceptable
    mrenclave: bytes | None = None  # 32
    mrsigner: bytes | None = None  # 32
    isvprodid: int | None = None
    isvsvn: int | None = None  # the lowest that is acceptable

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the JSON document; its words are those of the release policy.

        `{"tcb": {"accept": ["UpToDate"]}, "sgx": {"mrenclave", "mrsigner", "isvprodid", "isvsvn", "debug"},
        "simulated": "allow"}`; every field may be left out, unknown ones are refused.

        Raises:
            Malformed: `appraisal-policy-size`, `appraisal-policy-json`, `appraisal-policy-field`.
        """
        document = _object(load_json(data, "appraisal-policy", MAX_SIZE), "the document", _FIELDS)
        tcb = _object(document.get("tcb", {}), "tcb", _TCB_FIELDS)
        sgx = _object(document.get("sgx", {}), "sgx", _SGX_FIELDS)
        return cls(
            accept=_statuses(tcb.get("accept", [TcbStatus.UP_TO_DATE])),
            debug=_flag(sgx.get("debug", False), "sgx.debug"),
            simulated=_simulated(document.get("simulated", "deny")),
            mrenclave=_hash(sgx, "mrenclave"),
            mrsigner=_hash(sgx, "mrsigner"),
            isvprodid=_number(sgx, "isvprodid"),
            isvsvn=_number(sgx, "isvsvn"),
        )


def check_appraisal(verified: Verified, policy: AppraisalPolicy) -> None:
    """Return if the evidence is acceptable.

    Raises:
        Denied: `simulated-not-allowed`, `debug-not-allowed`, `tcb-not-accepted`, `measurement-not-allowed`,
            `signer-not-allowed`, `signer-product`, `signer-svn`: the codes of the release policy.
    """
    if verified.simulated and not policy.simulated:
        raise Denied(
            "simulated-not-allowed",
            "The evidence comes from a simulated platform, which proves nothing about hardware.",
            'For tests, allow it with "simulated": "allow" in the policy.',
        )
    if verified.claims["debug"] and not policy.debug:
        raise Denied(
            "debug-not-allowed",
            "The enclave is a debug enclave: whoever runs the machine can read it.",
            'For tests, allow it with "debug": true in the policy.',
        )
    if verified.tcb_status not in policy.accept:
        raise Denied(
            "tcb-not-accepted",
            f"The platform's TCB status is {verified.tcb_status}; accepted: {', '.join(sorted(policy.accept))}."
            + (f" Advisories: {', '.join(verified.advisories)}." if verified.advisories else ""),
            "Update the platform's firmware and microcode, or accept this status in the policy after reading them.",
        )
    _check_identity(verified, policy)


def _check_identity(verified: Verified, policy: AppraisalPolicy) -> None:
    report = verified.report
    if policy.mrenclave is not None and report.mrenclave != policy.mrenclave:
        raise _unwanted("measurement-not-allowed", "MRENCLAVE", report.mrenclave.hex(), policy.mrenclave.hex())
    if policy.mrsigner is not None and report.mrsigner != policy.mrsigner:
        raise _unwanted("signer-not-allowed", "MRSIGNER", report.mrsigner.hex(), policy.mrsigner.hex())
    if policy.isvprodid is not None and report.isvprodid != policy.isvprodid:
        raise _unwanted("signer-product", "ISVPRODID", report.isvprodid, policy.isvprodid)
    if policy.isvsvn is not None and report.isvsvn < policy.isvsvn:
        raise _unwanted("signer-svn", "ISVSVN", report.isvsvn, f"{policy.isvsvn} or more")


def _unwanted(code: str, field: str, seen: str | int, wanted: str | int) -> Denied:
    return Denied(code, f"{field} is {seen}; wanted is {wanted}.", "If this enclave is wanted, name it in the policy.")


def _object(value: Any, path: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unfit(path, "an object")
    unknown = sorted(set(value) - known)
    if unknown:
        raise _unfit(path, f"an object without the field {unknown[0]!r}; known fields: {', '.join(sorted(known))}")
    return value


def _statuses(value: Any) -> frozenset[TcbStatus]:
    known = set(TcbStatus) - {TcbStatus.REVOKED}
    if not isinstance(value, list) or not all(isinstance(each, str) and each in known for each in value):
        raise _unfit("tcb.accept", f"a list of statuses: {', '.join(sorted(known))}")
    return frozenset(TcbStatus(each) for each in value)


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _unfit(path, "true or false")
    return value


def _simulated(value: Any) -> bool:
    if value not in ("allow", "deny"):
        raise _unfit("simulated", '"allow" or "deny"')
    return bool(value == "allow")


def _hash(sgx: dict[str, Any], name: str) -> bytes | None:
    if name not in sgx:
        return None
    try:
        return unhex(sgx[name], "hash", 32)
    except Malformed:
        raise _unfit(f"sgx.{name}", "64 hexadecimal digits") from None


def _number(sgx: dict[str, Any], name: str) -> int | None:
    value = sgx.get(name)
    if name in sgx and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _U16):
        raise _unfit(f"sgx.{name}", f"a number from 0 to {_U16}")
    return value


def _unfit(path: str, wanted: str) -> Malformed:
    return Malformed("appraisal-policy-field", f"In the appraisal policy, {path} must be {wanted}.")
