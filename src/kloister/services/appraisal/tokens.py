"""Tokens of attestation services: verified by their issuer's keys, judged by the same policy as evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kloister.errors import KloisterError, Malformed, Unverified
from kloister.formats.tokens import JwkSet, Jws
from kloister.formats.tokens.jose import known_algorithm
from kloister.services.appraisal.envelopes import token_claims
from kloister.services.appraisal.recognise import Kind
from kloister.services.appraisal.result import Appraisal
from kloister.trust.policy.appraisal import AppraisalPolicy, AppraisalRefused, check_token
from kloister.trust.token_evidence import VerifiedToken
from kloister.trust.verifier.token import verify_token

_NAMES = {
    Kind.MAA_TOKEN: "a token of Microsoft Azure Attestation",
    Kind.EAR_TOKEN: "an EAT attestation result (EAR)",
    Kind.TOKEN: "a signed token",
}


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """Whose tokens are believed: an issuer's keys, and its name if that is to be checked too."""

    keys: JwkSet
    issuer: str | None = None


def appraise_token(
    kind: Kind, token: bytes, given: TokenKeys | None, at: datetime, policy: AppraisalPolicy | None
) -> Appraisal:
    """Verify and judge a token; a refusal is a result. Without keys it is said whose it claims to be."""
    claims = token_claims(token)
    try:
        verified = verify_token(token, _needed(kind, given, token, claims).keys, at, given.issuer if given else None)
    except (Malformed, Unverified) as reason:
        return Appraisal(genuine=False, accepted=False, kind=kind, reason=reason, unverified=claims)
    return _judged(kind, verified, policy, at)


def issuer_of(token: bytes) -> str:
    """Who a token claims to be of, unverified; empty where it does not say."""
    issuer = token_claims(token).get("iss")
    return issuer if isinstance(issuer, str) else ""


def _needed(kind: Kind, given: TokenKeys | None, token: bytes, claims: dict[str, object]) -> TokenKeys:
    if given is not None:
        return given
    known_algorithm(Jws.parse(token).algorithm)  # no key would help a token that is not signed
    issuer = claims.get("iss")
    of = f", which says that {issuer[:128]!a} issued it" if isinstance(issuer, str) else ""
    raise Unverified(
        "token-keys-missing",
        f"This is {_NAMES[kind]}{of}; without its issuer's keys nobody can say whether it is genuine.",
        "If you trust the issuer, give its keys (--jwks FILE) or have them fetched (--issuer URL).",
    )


def _judged(kind: Kind, token: VerifiedToken, policy: AppraisalPolicy | None, at: datetime) -> Appraisal:
    reason: KloisterError | None = None
    if policy is not None:
        try:
            check_token(token, policy, at)
        except AppraisalRefused as refusal:
            reason = refusal
    reading = token.reading
    return Appraisal(
        genuine=True,
        accepted=reason is None,
        kind=kind,
        tee=reading.tee,
        tcb_status=reading.status,
        advisories=reading.advisories,
        tcb_date=reading.date,
        claims=reading.claims,
        said=token.claims,
        issuer=token.issuer,
        simulated=reading.simulated,
        reason=reason,
        conditions=reason.conditions if isinstance(reason, AppraisalRefused) else (),
        expires=token.expires,
    )
