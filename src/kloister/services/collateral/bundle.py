"""Evidence with all that its judgement needs, in one file that re-verifies for ever without a network.

The roots are not in it: whoever verifies names them. Its policy and its time are those of whoever wrote it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self

from kloister.errors import Malformed, Misused
from kloister.formats.tokens import JwkSet
from kloister.formats.wire import canonical_json, load_json
from kloister.services.collateral.model import instant, parse_instant
from kloister.trust.verifier import Collateral, SnpEndorsement

FORMAT = "kloister-evidence-bundle/1"
MAX_SIZE = 24 * 1024 * 1024  # bytes; evidence of 1 MiB and collateral of 16 MiB at most
_FIELDS = {"format", "evidence", "collateral", "policy", "at", "sha256"}
_HASHED = ("evidence", "collateral", "policy", "at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was judged, by what, and when.

    Attributes:
        evidence: as it was given, in whatever form.
        collateral: the document that `--collateral` takes; of an SNP report `{"vek", "chain", "crl"}` in base64; of a
            token `{"jwks"}`, its issuer's keys.
        policy: the appraisal policy's text; None where only genuineness was asked for.
        at: the time of judgement.
    """

    evidence: bytes = field(repr=False)
    collateral: dict[str, Any] = field(repr=False)
    policy: str | None
    at: datetime

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a bundle.

        Raises:
            Malformed: `evidence-bundle-size`, `evidence-bundle-json`, `evidence-bundle-format`,
                `evidence-bundle-hash`.
        """
        value = load_json(data, "evidence-bundle", MAX_SIZE)
        if not isinstance(value, dict) or set(value) != _FIELDS or value["format"] != FORMAT:
            raise _unfit()
        if not isinstance(value["collateral"], dict) or not isinstance(value["policy"], (str, type(None))):
            raise _unfit()
        if not isinstance(value["evidence"], str) or not isinstance(value["at"], str):
            raise _unfit()
        if value["sha256"] != _hash(value):
            raise Malformed(
                "evidence-bundle-hash", "The bundle was changed or damaged after it was written.", "Get it anew."
            )
        try:
            evidence = base64.b64decode(value["evidence"], validate=True)
        except (binascii.Error, ValueError):
            raise _unfit() from None
        at = parse_instant(value["at"], "evidence-bundle-format")
        return cls(evidence=evidence, collateral=value["collateral"], policy=value["policy"], at=at)

    def build(self) -> bytes:
        """The file: canonical JSON with a hash against accidents."""
        value = {
            "format": FORMAT,
            "evidence": base64.b64encode(self.evidence).decode("ascii"),
            "collateral": self.collateral,
            "policy": self.policy,
            "at": instant(self.at),
        }
        return canonical_json({**value, "sha256": _hash(value)})


Vouching = Collateral | SnpEndorsement | JwkSet
_ENDORSEMENT, _KEYS = {"vek", "chain", "crl"}, {"jwks"}


def collateral_document(vouching: Vouching) -> dict[str, Any]:
    """The JSON object that `read_document` reads."""
    if isinstance(vouching, JwkSet):
        return {"jwks": vouching.as_json()}
    parts = {each.name: getattr(vouching, each.name) for each in fields(vouching) if each.init}
    if isinstance(vouching, SnpEndorsement):
        return {name: part and base64.b64encode(part).decode("ascii") for name, part in parts.items()}
    return {name: part for name, part in parts.items() if part is not None}


def read_document(value: dict[str, Any]) -> Vouching:
    """What vouches for the evidence. Raises `Malformed`: `evidence-bundle-format`, `collateral-field`, `jwks-*`."""
    if set(value) == _KEYS:
        try:
            return JwkSet.parse(canonical_json(value["jwks"]))
        except (Misused, ValueError, RecursionError):
            raise _unfit() from None
    if set(value) != _ENDORSEMENT:
        return Collateral.from_json(value)
    if not all(isinstance(part, str) or (part is None and name == "crl") for name, part in value.items()):
        raise _unfit()
    try:
        parts = {name: part and base64.b64decode(part, validate=True) for name, part in value.items()}
    except (binascii.Error, ValueError):
        raise _unfit() from None
    return SnpEndorsement(**parts)


def is_bundle(data: bytes) -> bool:
    """Whether these bytes are meant to be a bundle, rather than evidence in another form."""
    return data.lstrip()[:1] == b"{" and FORMAT.encode("ascii") in data


def _hash(value: dict[str, Any]) -> str:
    try:
        return hashlib.sha256(canonical_json({name: value[name] for name in _HASHED})).hexdigest()
    except (Misused, ValueError, RecursionError):  # fractions, half characters, depth: nothing that `build` writes
        raise _unfit() from None


def _unfit() -> Malformed:
    return Malformed(
        "evidence-bundle-format", "This is no bundle of evidence.", "`kloister verify --bundle-out FILE` writes one."
    )
