"""Whose token it is, and until when: keys of one name, issuers, and each date at its border."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.formats.tokens import JwkSet, PrivateKey, jwk_of, sign
from kloister.trust.token_evidence import VerifiedToken
from kloister.trust.verifier.token import verify_token
from tests.support.evidence import code_of
from tests.support.tokens import KEYS

START = datetime(2026, 6, 15, 12, tzinfo=UTC)
END = START + timedelta(hours=8)
ISSUER = "https://one.attest.example"
CLAIMS = {"iss": ISSUER, "nbf": int(START.timestamp()), "exp": int(END.timestamp()), "x-ms-ver": "1.0"}
SIGNER, OTHER, THIRD = (ec.derive_private_key(number, ec.SECP256R1()) for number in (11, 12, 13))


def keys(*chosen: PrivateKey, kid: str = "mine") -> JwkSet:
    return JwkSet.parse(json.dumps({"keys": [jwk_of(one.public_key(), kid) for one in chosen]}).encode())


def token(key: PrivateKey = SIGNER, /, claims: Any = CLAIMS, **header: Any) -> bytes:
    return sign({"kid": "mine", **header}, json.dumps(claims).encode(), key).encode()


def without(name: str) -> dict[str, Any]:
    return {each: value for each, value in CLAIMS.items() if each != name}


def verified(data: bytes, known: JwkSet, at: datetime = START, issuer: str | None = None) -> VerifiedToken:
    return verify_token(data, known, at, issuer)


def code(data: bytes, known: JwkSet | None = None, at: datetime = START, issuer: str | None = None) -> str:
    return code_of(lambda: verified(data, keys(SIGNER) if known is None else known, at, issuer))


def test_what_a_token_says() -> None:
    said = verified(token(), keys(SIGNER), issuer=ISSUER)
    assert (said.issuer, said.key, said.expires, said.claims) == (ISSUER, "mine", END, CLAIMS)
    assert said.reading.form == "maa"
    nameless = verified(token(claims=without("iss")), keys(SIGNER))
    assert nameless.issuer == ""
    assert verified(token(claims=CLAIMS | {"iss": 5}), keys(SIGNER)).issuer == ""
    assert verified(sign({}, json.dumps(CLAIMS).encode(), SIGNER).encode(), keys(SIGNER, kid="")).key == ""


def test_of_several_keys_of_one_name_any_will_do() -> None:
    rsa, wide = KEYS["RS256"], KEYS["ES384"]
    for known in (
        (SIGNER,), (SIGNER, OTHER), (OTHER, SIGNER), (SIGNER, OTHER, THIRD), (OTHER, SIGNER, THIRD),
        (OTHER, THIRD, SIGNER), (rsa, SIGNER), (SIGNER, rsa), (SIGNER, rsa, OTHER, wide), (wide, SIGNER, rsa),
    ):  # fmt: skip
        assert verified(token(), keys(*known)).key == "mine"


def test_a_key_of_another_name_or_kind_will_not() -> None:
    assert code(token()) == "accepted"
    assert code(token(), keys(SIGNER, kid="another")) == "token-key-unknown"
    assert code(token(), JwkSet(())) == "token-key-unknown"
    assert code(token(), keys(KEYS["RS256"])) == code(token(), keys(KEYS["RS256"], KEYS["ES384"])) == "token-algorithm"
    assert code(token(), keys(OTHER)) == code(token(), keys(OTHER, KEYS["RS256"])) == "token-signature"
    assert code(token(), keys(OTHER, THIRD)) == code(token(), keys(THIRD, KEYS["RS256"], OTHER)) == "token-signature"


def test_only_the_issuer_that_was_named() -> None:
    assert code(token(), issuer=ISSUER) == "accepted"
    for claims in (CLAIMS | {"iss": ISSUER + "/"}, CLAIMS | {"iss": [ISSUER]}, without("iss")):
        assert code(token(claims=claims), issuer=ISSUER) == "token-issuer"
    assert code(token(claims=without("iss")), issuer="") == "accepted"
    assert code(token(), issuer="") == "token-issuer"


def test_dates_at_their_borders() -> None:
    moment = timedelta(microseconds=1)
    for at, wanted in {
        START - moment: "token-not-yet-valid", START: "accepted", END - moment: "accepted", END: "token-expired",
        END + moment: "token-expired",
    }.items():  # fmt: skip
        assert code(token(), at=at) == wanted
    assert code(token(claims=without("nbf")), at=START - timedelta(days=9)) == "accepted"
    assert code(token(claims=without("exp"))) == "token-no-expiry"
    assert code(token(), at=START.replace(tzinfo=None)) == "time-naive"
