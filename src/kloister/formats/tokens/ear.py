"""EAT Attestation Results as JSON: what a verifier says of each part of an attester, by trustworthiness vectors.

Sources: draft-ietf-rats-ear-04, section 3; draft-ietf-rats-ar4si-09, sections 2.3 and 3. The names with dots are those
of the drafts before 2026, which Veraison's libraries and Trustee speak; the same claims, and one policy, not several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NoReturn, Self

from kloister.errors import Malformed, Misused
from kloister.formats.wire import b64url, unb64url

MAX_SUBMODS = 64  # of one result; a machine with eight GPUs has nine
_MAX_POLICIES = 16  # of one part
_MAX_TEXT = 1024  # characters of names and identifiers
_MAX_EVIDENCE = 1024 * 1024  # characters of base64url
_NONCE = range(8, 89)  # characters in JSON (RFC 9711, section 4.1)
_LAST_SECOND = 253402300799  # of the year 9999


class Tier(StrEnum):
    """How far something may be trusted (AR4SI, section 3.2); a claim of a later one outweighs those of earlier ones."""

    NONE = "none"  # nothing is said
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"

    @classmethod
    def of(cls, value: int) -> Tier:
        """The tier of a claim's value, an integer of 8 bits."""
        if -1 <= value <= 1:
            return cls.NONE
        if -32 <= value < 32:  # noqa: PLR2004 -- the specification's bounds
            return cls.AFFIRMING
        return cls.WARNING if -96 <= value < 96 else cls.CONTRAINDICATED  # noqa: PLR2004 -- same


class Profile(StrEnum):
    """Which names the claims have."""

    VERAISON = "tag:github.com,2023:veraison/ear"
    IETF = "tag:ietf.org,2026:rats/ear#04"


@dataclass(frozen=True, slots=True)
class _Names:
    verifier: str
    evidence: str
    status: str
    vector: str
    policy: str


_NAMES = {
    Profile.VERAISON: _Names(
        "ear.verifier-id", "ear.raw-evidence", "ear.status", "ear.trustworthiness-vector", "ear.appraisal-policy-id"
    ),
    Profile.IETF: _Names(
        "ear_verifier_id", "ear_raw_evidence", "ear_status", "ear_trustworthiness_vector", "ear_appraisal_policy_ids"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustVector:
    """Claims about eight aspects, each an integer from -128 to 127 (AR4SI, section 2.3); None: nothing is said."""

    instance_identity: int | None = None
    configuration: int | None = None
    executables: int | None = None
    file_system: int | None = None
    hardware: int | None = None
    runtime_opaque: int | None = None
    storage_opaque: int | None = None
    sourced_data: int | None = None

    def as_json(self) -> dict[str, int]:
        """What is said, by the names of AR4SI."""
        found = ((one.name.replace("_", "-"), getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in found if value is not None}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The reverse. Raises `Malformed`: `ear-field`."""
        known = {one.name.replace("_", "-"): one.name for one in fields(cls)}
        if not isinstance(value, dict) or not value.keys() <= known.keys():
            _unfit("a trustworthiness vector")
        for each in value.values():
            if isinstance(each, bool) or not isinstance(each, int) or not -128 <= each <= 127:  # noqa: PLR2004 -- 8 bits
                _unfit("a claim of a trustworthiness vector")
        return cls(**{known[name]: each for name, each in value.items()})

    @property
    def status(self) -> Tier:
        """The worst tier of what is said."""
        order = list(Tier)
        return max((Tier.of(value) for value in self.as_json().values()), key=order.index, default=Tier.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarAppraisal:
    """What is said of one part of an attester.

    Attributes:
        vector: aspect by aspect.
        status: never better than the vector's.
        policies: identifiers of the policies that were applied, in order; Veraison's names hold the first only.
        more: further claims, under names of the issuer's own.
    """

    vector: TrustVector
    status: Tier
    policies: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __post_init__(self) -> None:
        if not _fits(self.status, self.vector):
            raise Misused("ear-status", f"A part cannot be {self.status} when its vector is {self.vector.status}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """The claims of an attestation result, without those that every JWT may have but `iat` and `exp`.

    Attributes:
        issued, expires: seconds since 1970.
        developer, build: who made the verifier, and which it is.
        parts: by their names; at least one.
        nonce: the client's, 8 to 88 characters.
        evidence: all of it, as it was submitted; it may name a machine.
    """

    profile: Profile = Profile.VERAISON
    issued: int
    expires: int | None = None
    developer: str
    build: str
    parts: Mapping[str, EarAppraisal]
    nonce: str | None = None
    evidence: bytes | None = field(default=None, repr=False)

    def build_claims(self) -> dict[str, Any]:
        """The JSON object. Raises `Misused` where a part is missing, or the nonce has another size."""
        if not self.parts or (self.nonce is not None and len(self.nonce) not in _NONCE):
            raise Misused("ear-claims", "A result has at least one part, and a nonce of 8 to 88 characters if any.")
        names = _NAMES[self.profile]
        claims: dict[str, Any] = {
            "eat_profile": str(self.profile),
            "iat": self.issued,
            names.verifier: {"developer": self.developer, "build": self.build},
            "submods": {name: _part(part, self.profile) for name, part in self.parts.items()},
        }
        evidence = None if self.evidence is None else b64url(self.evidence)
        optional = {"exp": self.expires, "eat_nonce": self.nonce, names.evidence: evidence}
        return claims | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def parse_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Read them; claims beside those of a result are passed over.

        Raises:
            Malformed: `ear-field`, `ear-base64url`.
        """
        profile = claims.get("eat_profile")
        if not isinstance(profile, str) or profile not in set(Profile):
            _unfit("eat_profile")
        names = _NAMES[Profile(profile)]
        verifier = claims.get(names.verifier)
        if not isinstance(verifier, dict):
            _unfit(names.verifier)
        parts = claims.get("submods")
        if not isinstance(parts, dict) or not 0 < len(parts) <= MAX_SUBMODS:
            _unfit("submods")
        return cls(
            profile=Profile(profile),
            issued=_instant(claims.get("iat"), "iat"),
            expires=None if claims.get("exp") is None else _instant(claims["exp"], "exp"),
            developer=_string(verifier.get("developer"), "developer"),
            build=_string(verifier.get("build"), "build"),
            parts=MappingProxyType({name: _read_part(part, names) for name, part in parts.items()}),
            nonce=_nonce(claims.get("eat_nonce")),
            evidence=_bytes(claims.get(names.evidence), names.evidence),
        )


def _fits(status: Tier, vector: TrustVector) -> bool:
    """Whether a status says no more than its vector; one without a vector says what it likes."""
    if vector.status is Tier.CONTRAINDICATED:
        return status is Tier.CONTRAINDICATED
    return status is not Tier.AFFIRMING or vector.status is Tier.AFFIRMING or not vector.as_json()


def _part(part: EarAppraisal, profile: Profile) -> dict[str, Any]:
    names = _NAMES[profile]
    claims = {**part.more, names.status: str(part.status), names.vector: part.vector.as_json()}
    if part.policies:
        claims[names.policy] = part.policies[0] if profile is Profile.VERAISON else list(part.policies)
    return claims


def _read_part(value: Any, names: _Names) -> EarAppraisal:
    said = value.get(names.status) if isinstance(value, dict) else None
    if not isinstance(said, str) or said not in set(Tier):
        _unfit(names.status)
    vector, status = TrustVector.from_json(value.get(names.vector, {})), Tier(said)
    if not _fits(status, vector):
        _unfit(names.status)
    known = (names.status, names.vector, names.policy)
    more = MappingProxyType({name: each for name, each in value.items() if name not in known})
    return EarAppraisal(vector=vector, status=status, policies=_policies(value.get(names.policy)), more=more)


def _policies(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = value if isinstance(value, list) else [value]
    if not 0 < len(listed) <= _MAX_POLICIES:
        _unfit("the appraisal policies")
    return tuple(_string(one, "an appraisal policy") for one in listed)


def _nonce(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) not in _NONCE):
        _unfit("eat_nonce")
    return value


def _bytes(value: Any, name: str) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _MAX_EVIDENCE:
        _unfit(name)
    return unb64url(value.rstrip("="), "ear")


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        _unfit(name)
    return value


def _instant(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LAST_SECOND:
        _unfit(name)
    return value


def _unfit(what: str) -> NoReturn:
    raise Malformed("ear-field", f"In the attestation result, {what} is missing, or not as EAR has it.")
