"""Verification of tokens of attestation services.

The steps, each with its own reason codes:

1. Parse the token, its header and its claims.                       `formats/tokens/jose.py`
2. It is signed, by an algorithm that is accepted.                   `formats/tokens/jose.py`
3. A key of its name is among the issuer's.                          here
4. Its signature by that key.                                        `formats/tokens/jose.py`
5. The issuer is the one that was named, if one was.                 here
6. It is in date: `nbf` and `exp`, and it does have an `exp`.        here
7. What is understood of its claims is of the types it must have.    `formats/tokens/reading.py`
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kloister.errors import Misused, Unverified
from kloister.formats.tokens import JwkSet, Jws
from kloister.formats.tokens.jose import fits, known_algorithm
from kloister.formats.tokens.reading import instant_of, read_claims
from kloister.trust.evidence import _SEAL
from kloister.trust.token_evidence import VerifiedToken


def verify_token(token: bytes, keys: JwkSet, at: datetime, issuer: str | None = None) -> VerifiedToken:
    """What a token says, if one of the keys signed it and it is in date. The steps are listed on top of this file.

    Args:
        token: compact JWS.
        keys: the issuer's, from somewhere that is trusted; nothing in the token's own header is.
        at: aware; valid from `nbf` on and before `exp`.
        issuer: what `iss` must be; None: anyone whose key it is.

    Raises:
        Malformed: `token-*`.
        Unverified: `token-unsecured`, `token-algorithm`, `token-key-unknown`, `token-signature`, `token-issuer`,
            `token-no-expiry`, `token-expired`, `token-not-yet-valid`.
    """
    if at.tzinfo is None:
        raise Misused("time-naive", "The time of judgement must have a time zone.")
    parsed = Jws.parse(token)
    key = _signing_key(parsed, keys)
    claims = parsed.claims
    said = _check_issuer(claims, issuer)
    return VerifiedToken(
        seal=_SEAL,
        issuer=said,
        key=key,
        expires=_check_dates(claims, at),
        claims=claims,
        reading=read_claims(claims),
    )


def _signing_key(token: Jws, keys: JwkSet) -> str:
    """Steps 2 to 4; the name of the key. Several keys of one name are tried in turn."""
    algorithm = known_algorithm(token.algorithm)
    named = keys.named(token.kid)
    if not named:
        raise Unverified(
            "token-key-unknown",
            f"The token names the key {(token.kid or '')[:128]!a}, which is not among the issuer's.",
            "Get the issuer's keys again: services change them, and keep the old ones published for a while only.",
        )
    for candidate in [key for key in named if fits(algorithm, key.key)][:-1]:
        try:
            token.check_signed_by(candidate.key)
        except Unverified:
            continue
        return candidate.kid
    last = next((key for key in reversed(named) if fits(algorithm, key.key)), named[-1])
    token.check_signed_by(last.key)
    return last.kid


def _check_issuer(claims: Mapping[str, Any], wanted: str | None) -> str:
    issuer = claims.get("iss")
    said = issuer if isinstance(issuer, str) else ""
    if wanted is not None and said != wanted:
        raise Unverified(
            "token-issuer",
            f"The token was issued by {said[:128]!a}, not by {wanted[:128]!a}.",
            "Name the issuer as the token does, or get a token of the one you trust.",
        )
    return said


def _check_dates(claims: Mapping[str, Any], at: datetime) -> datetime:
    """Step 6: `exp`."""
    expires, start = instant_of(claims, "exp"), instant_of(claims, "nbf")
    if expires is None:
        raise Unverified("token-no-expiry", "The token does not say until when it is valid.", "Get one that does.")
    if at >= expires:
        raise Unverified(
            "token-expired", f"The token was valid until {expires:%Y-%m-%dT%H:%M:%SZ}.", "Get a new one; or check --at."
        )
    if start is not None and at < start:
        raise Unverified(
            "token-not-yet-valid",
            f"The token is valid from {start:%Y-%m-%dT%H:%M:%SZ} on.",
            "Check the clock, or --at.",
        )
    return expires
