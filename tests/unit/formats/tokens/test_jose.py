"""Tokens and keys, with joserfc and PyJWT as the others who read and write them."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws as theirs
from joserfc.jwk import ECKey, KeySet, RSAKey

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.tokens import JwkSet, Jws, PrivateKey, jwk_of, sign, unsecured
from kloister.formats.tokens.jwk import Jwk
from kloister.formats.wire import b64url
from tests.support.evidence import code_of
from tests.support.tokens import KEYS, certificate

PAYLOAD = b'{"iss":"https://issuer.example","n":1.5,"exp":4000000000}'


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_we_sign_others_verify(algorithm: str) -> None:
    key = KEYS[algorithm]
    token = sign({"kid": "one", "typ": "JWT"}, PAYLOAD, key)
    keys = {"keys": [jwk_of(key.public_key(), "one")]}
    found = theirs.deserialize_compact(token, KeySet.import_key_set(json.loads(json.dumps(keys))), [algorithm])
    assert found.payload == PAYLOAD
    public = jwt.PyJWK.from_dict(keys["keys"][0])
    assert jwt.decode(token, public, algorithms=[algorithm])["n"] == 1.5
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": "one", "typ": "JWT"}


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_others_sign_we_verify(algorithm: str) -> None:
    key = KEYS[algorithm]
    mine = RSAKey.import_key(key) if isinstance(key, rsa.RSAPrivateKey) else ECKey.import_key(key)
    by_joserfc = theirs.serialize_compact({"alg": algorithm}, PAYLOAD, mine, [algorithm])
    by_pyjwt = jwt.encode(json.loads(PAYLOAD), key, algorithm)
    exported = KeySet([mine]).as_dict(private=False)
    (read,) = JwkSet.parse(json.dumps(exported).encode()).keys
    for token in (by_joserfc, by_pyjwt):
        parsed = Jws.parse(token)
        parsed.check_signed_by(read.key)
        assert parsed.claims == json.loads(PAYLOAD)
        assert parsed.build() == token


def test_signing_is_deterministic_and_the_header_sorted() -> None:
    token = sign({"typ": "JWT", "kid": "a", "jku": "u"}, b"{}", KEYS["ES256"])
    assert token == sign({"kid": "a", "jku": "u", "typ": "JWT"}, b"{}", KEYS["ES256"])
    assert token.startswith(b64url(b'{"alg":"ES256","jku":"u","kid":"a","typ":"JWT"}') + ".e30.")
    with pytest.raises(Misused):
        sign({"alg": "RS256"}, b"{}", KEYS["ES256"])
    with pytest.raises(Malformed):
        sign({}, b"{}", ec.derive_private_key(5, ec.SECP521R1()))


def test_an_unsigned_token_is_read_and_refused() -> None:
    token = unsecured({"kid": "one"}, PAYLOAD)
    parsed = Jws.parse(token)
    assert (parsed.algorithm, parsed.kid, parsed.signature) == ("none", "one", b"")
    assert code_of(lambda: parsed.check_signed_by(KEYS["ES256"].public_key())) == "token-unsecured"
    assert parsed.build() == token


def test_keys_and_algorithms_must_fit() -> None:
    parsed = {name: Jws.parse(sign({}, PAYLOAD, key)) for name, key in KEYS.items()}
    for signed, each in parsed.items():
        for name, key in KEYS.items():
            expected = "accepted" if name == signed else "token-algorithm"
            assert code_of(lambda e=each, k=key: e.check_signed_by(k.public_key())) == expected  # type: ignore[misc]
    other = ec.derive_private_key(77, ec.SECP256R1()).public_key()
    assert code_of(lambda: parsed["ES256"].check_signed_by(other)) == "token-signature"
    hs = jwt.encode({}, "k" * 64, "HS256")  # the public key as a shared secret is the classic confusion
    assert code_of(lambda: Jws.parse(hs).check_signed_by(other)) == "token-algorithm"
    p521 = ec.derive_private_key(5, ec.SECP521R1()).public_key()
    assert code_of(lambda: parsed["ES256"].check_signed_by(p521)) == "token-algorithm"
    short = sign({}, PAYLOAD, KEYS["ES256"]).rpartition(".")[0] + ".AAAA"
    assert code_of(lambda: Jws.parse(short).check_signed_by(KEYS["ES256"].public_key())) == "token-signature"


def _token(header: bytes) -> str:
    return f"{b64url(header)}.e30."


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "token-syntax"),
        ("e30.e30", "token-syntax"),
        (".e30.", "token-syntax"),
        (b"\xff.e30.", "token-syntax"),
        ("e30.e3 0.", "token-base64url"),
        ("e30=.e30.", "token-base64url"),
        ("e30.e31.", "token-base64url"),  # spare bits
        ("e30.e30.", "token-header"),
        (_token(b"[]"), "token-header"),
        (_token(b'{"alg":1}'), "token-header"),
        (_token(b'{"alg":"ES256","crit":["b64"]}'), "token-header"),
        (_token(b'{"alg":"ES256","b64":false}'), "token-header"),
        (_token(b'{"alg":"ES256","alg":"none"}'), "token-header-json"),
        (_token(b'{"alg":"' + b"x" * 65536 + b'"}'), "token-header-size"),
        ("a" * (1 << 20) + "..", "token-size"),
    ],
)
def test_what_is_no_token_is_refused(token: str | bytes, code: str) -> None:
    assert code_of(lambda: Jws.parse(token)) == code


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"{}", "accepted"),
        (b"[]", "token-claims"),
        (b"x", "token-claims-json"),
        (b'{"a":1,"a":1}', "token-claims-json"),
    ],
)
def test_claims_are_an_object_with_unique_names(payload: bytes, code: str) -> None:
    assert code_of(lambda: Jws.parse(sign({}, payload, KEYS["ES256"])).claims) == code


@given(st.data())
@settings(max_examples=60)
def test_no_changed_character_verifies(data: st.DataObject) -> None:
    token = sign({"kid": "one"}, PAYLOAD, KEYS["ES256"])
    at = data.draw(st.integers(0, len(token) - 1))
    changed = data.draw(st.sampled_from([token[:at], token[:at] + "A" + token[at + 1 :], token[:at] + token[at + 1 :]]))
    if changed != token:
        with pytest.raises((Malformed, Unverified)):
            Jws.parse(changed).check_signed_by(KEYS["ES256"].public_key())


@given(st.binary(max_size=200))
def test_any_bytes_are_malformed_or_read(data: bytes) -> None:
    for action in (lambda: Jws.parse(data).claims, lambda: JwkSet.parse(data)):
        code_of(action)  # other exceptions than ours end the test


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["RSA", "EC", "P-256", "AQAB"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
MEMBERS = st.sampled_from(["kid", "kty", "crv", "n", "e", "x", "y", "x5c", "alg", "use"])


@given(st.dictionaries(MEMBERS, VALUES))
def test_any_object_is_a_key_or_malformed(members: dict[str, Any]) -> None:
    try:
        Jwk.from_json(members)
    except Malformed:
        return
    raise AssertionError


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_key_may_be_a_certificate_alone(algorithm: str) -> None:
    key = KEYS[algorithm]
    whole = jwk_of(key.public_key(), "one", [certificate(key)])
    for drop in ((), ("n", "e", "x", "y"), ("x5c",)):
        read = Jwk.from_json({name: value for name, value in whole.items() if name not in drop})
        assert read.key.public_numbers() == key.public_key().public_numbers()
        assert (read.kid, read.algorithm) == ("one", algorithm)
    assert Jwk.from_json(whole).as_json() == whole


def test_a_certificate_of_another_key_is_refused() -> None:
    whole = jwk_of(KEYS["ES256"].public_key(), "one", [certificate(KEYS["RS256"])])
    assert code_of(lambda: Jwk.from_json(whole)) == "jwk-key"


def _changed(**members: Any) -> dict[str, Any]:
    return jwk_of(KEYS["ES256"].public_key(), "one") | members


def _weak() -> dict[str, Any]:
    return _changed(kty="RSA", alg="RS256", n=b64url(b"\xff" * 128), e="AQAB")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (_changed(), "accepted"),
        ([], "jwk-field"),
        (_changed(kid=1), "jwk-field"),
        (_changed(use="enc"), "jwk-field"),
        (_changed(kty="RSA"), "jwk-key"),
        (_changed(alg="ES384"), "jwk-field"),
        (_changed(crv="P-521"), "jwk-field"),
        (_changed(crv=["P-256"]), "jwk-field"),
        (_changed(x="AAAA"), "jwk-field"),
        (_changed(x=b64url(bytes(32))), "jwk-key"),
        (_changed(x5c="x"), "jwk-field"),
        (_changed(x5c=["?"]), "jwk-certificate"),
        (_changed(x5c=["AAAA"]), "jwk-certificate"),
        (_weak(), "jwk-key"),
        (_weak() | {"n": b64url(b"\xff" * 4096)}, "jwk-field"),
        (_weak() | {"n": ""}, "jwk-key"),
    ],
)
def test_keys_that_are_none(value: Any, code: str) -> None:
    assert code_of(lambda: Jwk.from_json(value)) == code


def test_certificates_of_other_keys_are_no_keys() -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    with_ed = {"kty": "EC", "x5c": _changed(x5c=[])["x5c"]}
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    with_ed["x5c"] = jwk_of(KEYS["ES256"].public_key(), "", [certificate(key)])["x5c"]
    assert code_of(lambda: Jwk.from_json(with_ed)) == "jwk-key"


def test_a_set_passes_over_what_it_does_not_know() -> None:
    good = _changed()
    sets = JwkSet.parse(json.dumps({"keys": [{"kty": "OKP"}, good, good | {"kid": "two"}, 1]}).encode())
    assert [key.kid for key in sets.keys] == ["one", "two"]
    assert [key.kid for key in sets.named("two")] == ["two"]
    assert sets.named(None) == ()
    assert JwkSet.parse(json.dumps(sets.as_json()).encode()) == sets
    for bad, code in (({}, "jwks-field"), ([], "jwks-field"), ({"keys": [{}] * 65}, "jwks-field")):
        assert code_of(lambda b=bad: JwkSet.parse(json.dumps(b).encode())) == code  # type: ignore[misc]


def test_keys_stay_out_of_what_is_printed() -> None:
    private: list[PrivateKey] = [rsa.generate_private_key(65537, 2048)]
    assert "RSA" not in repr(Jwk(kid="one", key=private[0].public_key()))
    assert "issuer.example" not in repr(Jws.parse(sign({}, PAYLOAD, KEYS["ES256"])))
