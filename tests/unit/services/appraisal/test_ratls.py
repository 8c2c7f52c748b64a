from __future__ import annotations

import base64
import hashlib
import json
import ssl
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kloister.formats.ratls import Form
from kloister.formats.tokens import Jwk, JwkSet
from kloister.formats.wire import canonical_json
from kloister.services.appraisal import OPERATOR_NAMED, Appraisal, appraise
from kloister.services.appraisal.peer import server_certificate, server_evidence
from kloister.trust.verifier import Collateral
from tests.support.evidence import ENCLAVE, NOW, Forge, code_of
from tests.support.ratls import ratls, serving, spki

FORGE = Forge()
OTHER = ec.derive_private_key(0xBAD, ec.SECP256R1())


SIGNER = ec.derive_private_key(0x5EED, ec.SECP256R1())


def ordinary() -> bytes:
    """A certificate of `KEY` without evidence: the OID of its extension is another one."""
    der = ratls(FORGE)
    old = bytes.fromhex("06092a864886f84d8a3906")
    assert der.count(old) == 1
    return der.replace(old, old[:-1] + b"\7")


def judged(data: bytes, at: datetime = NOW) -> Appraisal:
    return appraise(data, Collateral.from_json(FORGE.documents()), [FORGE.root], at, OPERATOR_NAMED)


def reason(data: bytes, at: datetime = NOW) -> str:
    found = judged(data, at)
    assert found.genuine == found.accepted == (found.reason is None)
    return found.reason.code if found.reason else "accepted"


@pytest.mark.parametrize("form", list(Form))
def test_a_certificate_is_verified_in_der_pem_and_base64(form: Form) -> None:
    der = ratls(FORGE, form)
    for data in (der, ssl.DER_cert_to_PEM_cert(der).encode(), base64.b64encode(der), der.hex().encode()):
        found = judged(data)
        kind = "signing-certificate" if form is Form.OPEN_ENCLAVE else "ra-tls-certificate"
        assert (found.kind, found.accepted, found.tee) == (kind, True, "sgx")
        assert found.claims is not None
        assert found.claims["mrenclave"] == "11" * 32
    assert judged(ratls(FORGE, form, key=OTHER)).accepted


@pytest.mark.parametrize("form", list(Form))
def test_a_quote_for_another_key_is_not_genuine(form: Form) -> None:
    assert reason(ratls(FORGE, form)) == "accepted"
    if form is Form.DICE:
        assert reason(ratls(FORGE, form, claimed=spki(OTHER))) == "ratls-key-mismatch"
    else:
        assert reason(ratls(FORGE, form, bound=spki(OTHER))) == "ratls-report-data"


def test_claims_that_the_quote_does_not_bind_are_not_genuine() -> None:
    der = ratls(FORGE, Form.DICE)
    name, value = b"enonceEnonce", b"enonceENONCE"  # the key and the value of the claim, CBOR
    swapped = der.replace(name, value)
    assert swapped != der
    assert reason(swapped) == "ratls-report-data"


def test_a_certificate_must_be_signed_with_its_key_and_in_its_time() -> None:
    der = ratls(FORGE, start=NOW - timedelta(days=1))
    assert reason(der, NOW) == "accepted"
    assert reason(der[:-1] + bytes([der[-1] ^ 1])) == "ratls-signature"
    assert reason(der, NOW - timedelta(days=1, seconds=1)) in ("ratls-not-yet-valid", "root-crl-not-yet-valid")
    assert reason(ratls(FORGE, start=NOW + timedelta(seconds=1))) == "ratls-not-yet-valid"
    assert reason(ratls(FORGE, start=NOW - timedelta(days=3, seconds=1))) == "ratls-expired"


def test_the_certificate_of_a_server_is_taken_without_trust(tmp_path: Path) -> None:
    der = ratls(FORGE)
    with serving(der, tmp_path) as url:
        assert server_certificate(url) == der
        assert server_certificate(url + "/") == der
    assert code_of(lambda: server_certificate(url, timeout=1)) == "server-unreachable"


def test_a_service_shows_the_evidence_of_the_key_that_signs_its_tokens(tmp_path: Path) -> None:
    der, plain = ratls(FORGE, Form.OPEN_ENCLAVE, key=OTHER), ordinary()
    keys = JwkSet((Jwk(kid="old", key=SIGNER.public_key()), Jwk(kid="new", key=OTHER.public_key(), x5c=(der,))))
    with serving(plain, tmp_path, keys=json.dumps(keys.as_json()).encode()) as url:
        assert server_certificate(url) == plain
        assert server_evidence(url) == der
    own = ratls(FORGE)
    with serving(own, tmp_path, keys=json.dumps(keys.as_json()).encode()) as url:
        assert server_evidence(url) == own
    for nothing in (None, b"", b"{", b'{"keys": []}', b" " * (2 << 20)):
        with serving(plain, tmp_path, keys=nothing) as url:
            assert server_evidence(url) == plain
    assert reason(plain) == "ratls-no-evidence"


@pytest.mark.parametrize(
    "url", ["https://", "http://x", "https://x:0", "https://x:70000", "https://x:1/path", "https://u@x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    assert code_of(lambda: server_certificate(url)) == "server-address"


def test_evidence_for_a_key_broker_is_bound_to_its_session() -> None:
    runtime = {"nonce": "AAAA", "tee-pubkey": {"kty": "EC", "crv": "P-256"}}
    bound = hashlib.sha384(canonical_json({"additional-evidence": "", **runtime})).digest()
    quote = replace(FORGE, enclave=replace(ENCLAVE, report_data=bound.ljust(64, b"\0"))).quote()
    evidence = {"primary_evidence": {"quote": base64.b64encode(quote).decode()}, "additional_evidence": ""}
    body = {"init-data": None, "runtime-data": runtime, "tee-evidence": evidence}
    assert reason(json.dumps(body).encode()) == "accepted"
    body["runtime-data"] = runtime | {"nonce": "AAAB"}
    assert reason(json.dumps(body).encode()) == "kbs-report-data"
