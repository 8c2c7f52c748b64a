"""What the claims of an attestation service say, under the names that evidence of the same TEE has here.

Sources: Microsoft Azure Attestation, claim sets of SGX, SEV-SNP and TDX tokens; draft-ietf-rats-ear; RFC 9711.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from kloister.errors import Malformed
from kloister.formats.tokens.ear import MAX_SUBMODS, Tier, TrustVector

# What Kloister's own service adds to a token of either form
SIMULATED = "kloister-simulated"  # true: the platform is a simulated one
TCB_STATUS = "kloister-tcb-status"
ADVISORIES = "kloister-advisories"  # a list of texts
TCB_DATE = "kloister-tcb-date"  # ISO 8601
EVALUATION_NUMBER = "kloister-tcb-evaluation-number"
COLLATERAL = "kloister-collateral"  # an object; `issued` is when its oldest document was, ISO 8601

_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_MAX_ADVISORIES = 256
_AZURE = ("x-ms-ver", "x-ms-attestation-type", "x-ms-policy-hash")
_STATUS = ("ear.status", "ear_status")
_VECTOR = ("ear.trustworthiness-vector", "ear_trustworthiness_vector")
_EAR = ("ear.verifier-id", "submods", "ear_verifier_id", *_STATUS)
_TEES = {"sgx": "sgx", "sevsnpvm": "snp", "tdxvm": "tdx"}
_LAST_SECOND = 253402300799  # of the year 9999
# claim in the token: claim of evidence, and its type
_SGX: Mapping[str, tuple[str, type]] = {
    "x-ms-sgx-mrenclave": ("mrenclave", str),
    "x-ms-sgx-mrsigner": ("mrsigner", str),
    "x-ms-sgx-product-id": ("isvprodid", int),
    "x-ms-sgx-svn": ("isvsvn", int),
    "x-ms-sgx-is-debuggable": ("debug", bool),
    "x-ms-sgx-report-data": ("report_data", str),
    "x-ms-sgx-config-id": ("configid", str),
    "x-ms-sgx-config-svn": ("configsvn", int),
    "x-ms-sgx-isv-extended-product-id": ("isvextprodid", str),
    "x-ms-sgx-isv-family-id": ("isvfamilyid", str),
}
_SNP: Mapping[str, tuple[str, type]] = {
    f"x-ms-sevsnpvm-{name}": claim
    for name, claim in {
        "launchmeasurement": ("measurement", str),
        "reportdata": ("report_data", str),
        "hostdata": ("host_data", str),
        "idkeydigest": ("id_key_digest", str),
        "authorkeydigest": ("author_key_digest", str),
        "familyId": ("family_id", str),
        "imageId": ("image_id", str),
        "guestsvn": ("guest_svn", int),
        "vmpl": ("vmpl", int),
        "is-debuggable": ("debug", bool),
        "bootloader-svn": ("reported_tcb_bootloader", int),
        "tee-svn": ("reported_tcb_tee", int),
        "snpfw-svn": ("reported_tcb_snp", int),
        "microcode-svn": ("reported_tcb_microcode", int),
    }.items()
}
_TDX: Mapping[str, tuple[str, type]] = {
    f"tdx_{name}": claim
    for name, claim in {
        **{each: (each, str) for each in ("mrtd", "mrseam", "mrsignerseam", "mrconfigid", "mrowner", "mrownerconfig")},
        **{each: (each, str) for each in ("rtmr0", "rtmr1", "rtmr2", "rtmr3", "report_data", "xfam", "tee_tcb_svn")},
        "td_attributes_debug": ("debug", bool),
        "td_attributes_septve_disable": ("sept_ve_disable", bool),
    }.items()
}
_NAMES = {"sgx": _SGX, "snp": _SNP, "tdx": _TDX}


class Form(StrEnum):
    """Whose way of saying it."""

    MAA = "maa"
    EAR = "ear"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The claims of a token, as far as they are known.

    Attributes:
        form: how they are said.
        tee: "sgx", "tdx" or "snp"; None where the token does not say one.
        claims: under the names of `Verified.claims`.
        status, advisories, date, evaluation_number: of the TCB, where the token says them.
        issued: when the oldest document was by which that was judged.
        ear_status: of an EAR: the worst of its parts; None elsewhere.
        simulated: whether the platform is a simulated one.
    """

    form: Form
    tee: str | None = None
    claims: Mapping[str, str | int | bool] = field(default_factory=dict, repr=False)
    status: str | None = None
    advisories: tuple[str, ...] = ()
    date: datetime | None = None
    evaluation_number: int | None = None
    issued: datetime | None = None
    ear_status: str | None = None
    simulated: bool = False


def form_of(claims: Mapping[str, Any]) -> Form:
    """Whose token it is, by its claims."""
    issuer = claims.get("iss")
    if any(name in claims for name in _AZURE) or (isinstance(issuer, str) and ".attest.azure.net" in issuer):
        return Form.MAA
    return Form.EAR if any(name in claims for name in _EAR) else Form.OTHER


def read_claims(claims: Mapping[str, Any]) -> Reading:
    """What they say. Raises `Malformed`: `token-claim`, one is of another type than it must be."""
    form = form_of(claims)
    parts = [claims, *(_submods(claims) if form is Form.EAR else ())]
    said = {name: value for part in reversed(parts) for name, value in part.items()}
    tee = _TEES.get(str(said.get("x-ms-attestation-type"))) or ("tdx" if "tdx_mrtd" in said else None)
    return Reading(
        form=form,
        tee=tee,
        claims=dict(_known(said, _NAMES[tee])) if tee else {},
        status=_text(said, TCB_STATUS) or _text(said, "attester_tcb_status"),
        advisories=_advisories(said),
        date=_date(said, TCB_DATE),
        issued=_date(_object(said, COLLATERAL), "issued"),
        evaluation_number=_typed(said, EVALUATION_NUMBER, int),
        ear_status=_ear_status(parts[1:] or parts) if form is Form.EAR else None,
        simulated=any(part.get(SIMULATED) not in (None, False) for part in parts),
    )


def instant_of(claims: Mapping[str, Any], name: str) -> datetime | None:
    """A NumericDate (RFC 7519, section 2), whole or not; None where it is missing. Raises `Malformed`: `token-time`."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise Malformed("token-time", f"The token's {name} is no number of seconds since 1970.")
    return datetime.fromtimestamp(value, UTC)


def _submods(claims: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of an EAR; one without has itself."""
    submods = claims.get("submods", {})
    if not isinstance(submods, dict) or len(submods) > MAX_SUBMODS:
        raise _unfit("submods")
    for each in submods.values():
        if not isinstance(each, dict):
            raise _unfit("submods")
        yield each


_TIERS = {0: Tier.NONE, 2: Tier.AFFIRMING, 32: Tier.WARNING, 96: Tier.CONTRAINDICATED}  # draft-ietf-rats-ear, 3.1
_WORST = (Tier.CONTRAINDICATED, Tier.NONE, Tier.WARNING, Tier.AFFIRMING)


def _ear_status(parts: list[Mapping[str, Any]]) -> str:
    """The worst of the parts and of their vectors; a status that is missing or not known is `none`: nobody vouches."""
    found: set[Tier] = set()
    for part in parts:
        said = [part[name] for name in _STATUS if name in part]
        found |= {_tier(status) for status in said} or {Tier.NONE}
        vectors = [TrustVector.from_json(part[name]) for name in _VECTOR if name in part]
        found |= {vector.status for vector in vectors if vector.as_json()}
    return next(each for each in _WORST if each in found)


def _tier(status: Any) -> Tier:
    if isinstance(status, int) and not isinstance(status, bool):
        return _TIERS.get(status, Tier.NONE)
    return next((each for each in Tier if each == status), Tier.NONE)


def _known(claims: Mapping[str, Any], names: Mapping[str, tuple[str, type]]) -> Iterator[tuple[str, str | int | bool]]:
    for name, (ours, kind) in names.items():
        value = _typed(claims, name, kind)
        if isinstance(value, str) and not _HEX.fullmatch(value):
            raise _unfit(name)
        if value is not None:
            yield ours, value


def _advisories(claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = claims.get(ADVISORIES, [])
    if not isinstance(value, list) or len(value) > _MAX_ADVISORIES or not all(isinstance(one, str) for one in value):
        raise _unfit(ADVISORIES)
    return tuple(sorted(set(value)))


def _object(claims: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = _typed(claims, name, dict) or {}
    return value


def _date(claims: Mapping[str, Any], name: str) -> datetime | None:
    text = _text(claims, name)
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _unfit(name) from None


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value: str | None = _typed(claims, name, str)
    return value


def _typed(claims: Mapping[str, Any], name: str, kind: type) -> Any:
    """A claim of exactly that type, None where it is missing."""
    value = claims.get(name)
    if value is not None and type(value) is not kind:
        raise _unfit(name)
    return value


def _unfit(name: str) -> Malformed:
    return Malformed("token-claim", f"The token's claim {name} has a value that it cannot have.")
