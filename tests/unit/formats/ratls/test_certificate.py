from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Unverified
from kloister.formats.dcap import open_enclave
from kloister.formats.ratls import Form, RatlsCertificate, RatlsEvidence, build_certificate, cbor, claims_for
from kloister.formats.ratls.evidence import DICE_OID, LEGACY_OIDS
from tests.support.evidence import code_of

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
KEYS = {curve.name: ec.derive_private_key(0x1234567, curve) for curve in (ec.SECP256R1(), ec.SECP384R1())}
KEY = KEYS["secp256r1"]
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
LEGACY = RatlsEvidence(form=Form.LEGACY, quote=b"quote" * 100)
AZURE = RatlsEvidence(form=Form.OPEN_ENCLAVE, quote=b"quote" * 100)
DICE = RatlsEvidence.of(b"quote" * 100, claims_for(SPKI, b"nonce"))


@functools.cache
def certificate(form: Form) -> bytes:
    evidence = {Form.LEGACY: LEGACY, Form.DICE: DICE, Form.OPEN_ENCLAVE: AZURE}[form]
    return build_certificate(KEY, evidence, not_before=START, not_after=END)


@pytest.mark.parametrize("curve", KEYS)
@pytest.mark.parametrize("evidence", [LEGACY, DICE, AZURE])
def test_what_is_built_is_parsed(curve: str, evidence: RatlsEvidence) -> None:
    der = build_certificate(KEYS[curve], evidence, not_before=START, not_after=END, common_name="app")
    parsed = RatlsCertificate.parse(der)
    assert (parsed.evidence, parsed.der, parsed.subject) == (evidence, der, "CN=app")
    assert (parsed.not_before, parsed.not_after, parsed.self_issued) == (START, END, True)
    parsed.check_signature()
    pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    assert RatlsCertificate.parse(pem) == parsed


def test_the_report_data_bind_key_or_claims() -> None:
    assert LEGACY.report_data(SPKI) == hashlib.sha256(SPKI).digest() + bytes(32)
    assert DICE.report_data(SPKI) == hashlib.sha256(DICE.claims).digest() + bytes(32)
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert AZURE.report_data(SPKI) == hashlib.sha256(pem + b"\0").digest() + bytes(32)
    assert DICE.nonce == b"nonce"
    assert DICE.binds_key(SPKI)
    assert not DICE.binds_key(SPKI + b"\0")


@pytest.mark.parametrize(("number", "name"), [(1, "sha256"), (7, "sha384"), (8, "sha512")])
def test_three_hashes_of_the_key_are_known(number: int, name: str) -> None:
    digest = hashlib.new(name, SPKI).digest()
    claims = cbor.encode({"pubkey-hash": cbor.encode([number, digest])})
    assert RatlsEvidence.of(b"q", claims).binds_key(SPKI)


def test_the_standard_extension_comes_first_and_is_never_skipped() -> None:
    both = {LEGACY_OIDS[0]: b"legacy", DICE_OID: DICE.build()}
    assert RatlsEvidence.find(both) == DICE
    assert code_of(lambda: RatlsEvidence.find(both | {DICE_OID: b"damaged"})) == "ratls-cbor"
    for oid in LEGACY_OIDS:
        assert RatlsEvidence.find({oid: b"q"}) == RatlsEvidence(form=Form.LEGACY, quote=b"q")
    assert RatlsEvidence.find({"1.2.3": b"q"}) is None


def test_open_enclaves_header_must_be_that_of_the_quote_behind_it() -> None:
    report = AZURE.build()
    assert RatlsEvidence.find({open_enclave.OID: report}) == AZURE
    for changed in (b"", report[:15], report[:-1], report + b"\0", *(flipped(report, at) for at in range(16))):
        find = functools.partial(RatlsEvidence.find, {open_enclave.OID: changed})
        assert code_of(find) == "oe-report-header"
    for oid, form in ((LEGACY_OIDS[0], Form.LEGACY), (DICE_OID, Form.DICE)):
        found = RatlsEvidence.find({open_enclave.OID: report, oid: DICE.build()})
        assert found is not None
        assert found.form is form


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "item",
    [
        cbor.Tagged(60001, [b"q", DICE.claims]),
        cbor.Tagged(60000, [b"q"]),
        cbor.Tagged(60000, [b"q", "claims"]),
        cbor.Tagged(60000, [1, DICE.claims]),
        [b"q", DICE.claims],
        cbor.Tagged(60000, [b"q", cbor.encode([])]),
        cbor.Tagged(60000, [b"q", cbor.encode({})]),
        cbor.Tagged(60000, [b"q", cbor.encode({"pubkey-hash": 1})]),
        cbor.Tagged(60000, [b"q", cbor.encode({"pubkey-hash": cbor.encode([2, b"d"])})]),
        cbor.Tagged(60000, [b"q", cbor.encode({"pubkey-hash": cbor.encode([1, "d"])})]),
        cbor.Tagged(60000, [b"q", cbor.encode({"pubkey-hash": cbor.encode([1, b"d"]), "nonce": 1})]),
        cbor.Tagged(60000, [b"q", cbor.encode({"pubkey-hash": cbor.encode([1, b"d"]), "other": 1})]),
    ],
)
def test_other_evidence_is_malformed(item: cbor.Item) -> None:
    assert code_of(lambda: RatlsEvidence.find({DICE_OID: cbor.encode(item)})) == "ratls-evidence"


def test_certificates_without_evidence_or_sense_are_malformed() -> None:
    plain = RatlsEvidence(form=Form.LEGACY, quote=b"q")
    der = build_certificate(KEY, plain, not_before=START, not_after=END)
    assert code_of(lambda: RatlsCertificate.parse(der)) == "accepted"
    without = der.replace(bytes.fromhex("06092a864886f84d8a3906"), bytes.fromhex("06092a864886f84d8a3907"))
    assert code_of(lambda: RatlsCertificate.parse(without)) == "ratls-no-evidence"
    assert code_of(lambda: RatlsCertificate.parse(b"")) == "ratls-certificate"
    assert code_of(lambda: RatlsCertificate.parse(b"-----BEGIN CERTIFICATE-----")) == "ratls-certificate"
    assert code_of(lambda: RatlsCertificate.parse(bytes(70_000))) == "ratls-size"


@pytest.mark.parametrize("form", list(Form))
@given(st.data())
def test_a_changed_byte_is_seen_or_malformed(form: Form, data: st.DataObject) -> None:
    der = bytearray(certificate(form))
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = RatlsCertificate.parse(bytes(der))
        changed.check_signature()
    except (Malformed, Unverified) as error:
        assert error.code.startswith(("ratls-", "oe-report-header"))  # noqa: PT017 -- either outcome is right
        return
    # another issuer or subject: then the signature is not the attested key's to make, and the evidence is the same
    assert not changed.self_issued
