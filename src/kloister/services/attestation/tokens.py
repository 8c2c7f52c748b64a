"""Puts claims into tokens: what every token has, and which claim wins where a policy issues one of the same name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kloister.formats.tokens import unsecured
from kloister.services.attestation.keys import SigningKey
from kloister.trust.policy.maa.known import is_reserved

RESULT_VALIDITY = 3600  # seconds of a token that answers an administrative request
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
json_text = _ENCODER.encode  # a claim's value as `payload` writes it
Claims = dict[str, Any]


def payload(claims: Claims) -> bytes:
    """Compact JSON, sorted by name as Azure's is; ASCII, so that every text survives."""
    return _ENCODER.encode(claims).encode("ascii")


def stamped(claims: Claims, issuer: str, now: int, validity: int) -> Claims:
    """With issuer and times; integers, never of the future."""
    return {**claims, "exp": now + validity, "iat": now, "iss": issuer, "nbf": now}


def result_token(claims: Claims, key: SigningKey, issuer: str, now: int) -> str:
    """The answer to an administrative request."""
    return key.sign(payload(stamped(claims, issuer, now, RESULT_VALIDITY)))


def attestation_claims(judged: Claims, issued: Claims) -> Claims:
    """The policy's claims at top level, unless the name is one of the service's, and all of them in `x-ms-policy`."""
    if not issued:
        return judged
    top = {name: value for name, value in issued.items() if not is_reserved(name)}
    return {**top, **judged, "x-ms-policy": issued}


@dataclass(frozen=True, slots=True)
class PayloadForm:
    """The payload of tokens that have most claims in common: written once, but for places that are filled in."""

    parts: tuple[str, ...] = field(repr=False)  # before, between and behind the places
    names: tuple[str, ...]  # of what is filled in, in the order of the places

    @classmethod
    def of(cls, claims: Mapping[str, Any], names: Iterable[str]) -> Self:
        """With these claims, and places for others."""
        parts, places, begin = [""], sorted(names), "{"
        for name in sorted([*claims, *places]):
            parts[-1] += f"{begin}{json_text(name)}:"
            if name in claims:
                parts[-1] += json_text(claims[name])
            else:
                parts.append("")
            begin = ","
        parts[-1] += "}"
        return cls(tuple(parts), tuple(places))

    def filled(self, texts: Mapping[str, str]) -> bytes:
        """As `payload`; `texts` are the others' values in JSON."""
        filled = [""] * (len(self.parts) + len(self.names))
        filled[::2], filled[1::2] = self.parts, [texts[name] for name in self.names]
        return "".join(filled).encode("ascii")


def draft_token(claims: Claims, key: SigningKey) -> str:
    """Of a draft policy: with the header of others, but not signed."""
    return unsecured(key.header, payload(claims))
