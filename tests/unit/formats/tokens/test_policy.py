from __future__ import annotations

import base64
import functools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Unverified
from kloister.formats.tokens import sign
from kloister.formats.tokens.policy import EMPTY, PolicyToken, certificate_of, policy_token
from kloister.formats.wire import b64url, canonical_json

AT = datetime(2026, 1, 1, tzinfo=UTC)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@functools.cache
def key(kind: str) -> Key:
    curves = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
    return ec.generate_private_key(curves[kind]) if kind in curves else rsa.generate_private_key(65537, int(kind))


@functools.cache
def x5c(kind: str) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "owner")])
    builder = x509.CertificateBuilder(name, name, key(kind).public_key(), 1, AT, AT + timedelta(days=1))
    return base64.b64encode(builder.sign(key(kind), hashes.SHA256()).public_bytes(Encoding.DER)).decode()


def signed(kind: str, payload: bytes = b"{}") -> str:
    return sign({"x5c": [x5c(kind)]}, payload, key(kind))


def code(text: str) -> str:
    try:
        PolicyToken.parse(text)
    except (Malformed, Unverified) as error:
        return error.code
    return ""


@given(st.text(st.characters(codec="utf-8"), max_size=64))
def test_what_was_written_is_read(text: str) -> None:
    token = PolicyToken.parse(policy_token(text))
    assert (token.policy, token.chain, token.algorithm) == (text, (), "")


@given(st.binary(max_size=32), st.sampled_from(["p256", "p384", "2048"]))
def test_signed_ones_are_verified(payload: bytes, kind: str) -> None:
    token = PolicyToken.parse(signed(kind, payload))
    assert token.payload == payload
    assert token.algorithm == {"p256": "ES256", "p384": "ES384", "2048": "RS256"}[kind]
    assert token.signer() == {"kty": "RSA" if kind == "2048" else "EC", "x5c": [x5c(kind)]}


@given(st.data())
def test_a_changed_character_is_refused(data: Any) -> None:
    text = signed("p256", b'{"AttestationPolicy":"AA"}')
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("Aa0-_.=!"))
    changed = text[:at] + other + text[at + 1 :]
    assert changed == text or code(changed)


@given(st.text(max_size=64))
def test_any_text_is_refused_in_an_orderly_way(text: str) -> None:
    assert code(text)


def test_an_empty_one() -> None:
    token = PolicyToken.parse(EMPTY)
    assert (token.payload, token.chain) == (b"", ())
    with pytest.raises(Malformed):
        token.claims()


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ({"alg": "RS256"}, "policy-token-certificate"),
        ({"alg": "RS256", "jwk": 1}, "policy-token-certificate"),
        ({"alg": "RS256", "jwk": {}}, "policy-token-certificate"),
        ({"alg": "RS256", "x5c": []}, "policy-token-certificate"),
        ({"alg": "RS256", "x5c": "AA"}, "policy-token-certificate"),
        ({"alg": "RS256", "x5c": ["!"]}, "policy-token-certificate"),
        ({"alg": "RS256", "x5c": ["AAAA"]}, "policy-token-certificate"),
        ({"alg": "RS256", "x5c": ["AAAA"] * 9}, "policy-token-certificate"),
        ({"alg": "RS256", "x5c": [x5c("p521")]}, "policy-token-key"),
        ({"alg": "RS256", "x5c": [x5c("1024")]}, "policy-token-key"),
        ({"alg": "RS256", "x5c": [x5c("p256")]}, "policy-token-signature"),
        ({"alg": "none"}, "policy-token-signature"),
        ({"alg": "NONE"}, "policy-token-signature"),
    ],
)
def test_headers_that_are_refused(header: dict[str, Any], wanted: str) -> None:
    assert code(f"{b64url(canonical_json(header))}.e30.AAAA") == wanted


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"AttestationPolicy":1}', b'{"AttestationPolicy":"_w"}'])
def test_payloads_without_a_policy(payload: bytes) -> None:
    token = PolicyToken.parse(signed("p256", payload))
    with pytest.raises(Malformed) as caught:
        _ = token.policy
    assert caught.value.code in ("policy-token-claim", "policy-token-json")


def test_too_long() -> None:
    assert code("a" * (256 * 1024 + 1)) == "policy-token-size"


def test_certificates_to_add() -> None:
    names = ("one", "two")
    claims: dict[str, Any] = {"two": {"x5c": [x5c("p256")]}, "three": {"x5c": [x5c("p384")]}}
    assert base64.b64encode(certificate_of(claims, names)).decode() == x5c("p256")
    for bad in ({}, {"one": "x"}, {"one": {"x5c": ["AAAA"]}}, {"one": {"x5c": [x5c("1024")]}}):
        with pytest.raises(Malformed):
            certificate_of(bad, names)
