from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.dcap import PckExtension
from kloister.formats.dcap.pck_extension import OID
from kloister.formats.pki import Certificate, parse_chain
from kloister.simulator.pki import SimulatedPki, derive_key
from tests.support.evidence import SEED, code_of

PKI = SimulatedPki.derive(SEED)
CHAIN = PKI.pck_chain_pem().encode()
KEY = derive_key(SEED, "test")


def built(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = KEY,
    names: tuple[str, ...] = ("Somebody",),
    extension: x509.ExtensionType | None = None,
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in names])
    builder = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=5,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2027, 1, 1, tzinfo=UTC),
    )
    if extension:
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def test_a_chain_is_read_in_its_order() -> None:
    leaf, ca, root = parse_chain(CHAIN + b"\0", "chain")
    assert [leaf.common_name[-11:], ca.common_name[-11:], root.common_name[-7:]] == [
        "Certificate",
        "Platform CA",
        "Root CA",
    ]
    assert leaf.issuer == ca.subject
    assert ca.issuer == root.subject == root.issuer
    assert (leaf.is_ca, ca.is_ca, root.is_ca) == (False, True, True)
    assert (leaf.may_sign_data, ca.may_sign_data) == (True, False)
    assert (ca.may_sign_crls, ca.may_sign_certificates, ca.path_length) == (True, True, 0)
    assert PckExtension.parse(leaf.extensions[OID]) == PKI.extension
    assert OID not in ca.extensions


def test_signatures_are_checked_with_the_right_key_only() -> None:
    leaf, ca, root = parse_chain(CHAIN, "chain")
    leaf.check_signed_by(ca.public_key, "some-code")
    assert code_of(lambda: leaf.check_signed_by(root.public_key, "some-code")) == "some-code"


def test_pem_returns() -> None:
    leaf = parse_chain(CHAIN, "chain")[0]
    assert parse_chain(leaf.pem().encode(), "chain") == (leaf,)


@pytest.mark.parametrize(
    ("pem", "code"),
    [
        (b"", "chain-pem"),
        (b"\0\n", "chain-pem"),
        (CHAIN + b"x", "chain-pem"),
        (CHAIN * 4, "chain-pem"),
        (CHAIN + b" " * 300_000, "chain-size"),
        (b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n", "chain-pem"),
        (b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "certificate-syntax"),
    ],
)
def test_what_is_no_chain_is_malformed(pem: bytes, code: str) -> None:
    assert code_of(lambda: parse_chain(pem, "chain")) == code


def test_unusual_certificates_are_malformed() -> None:
    assert code_of(lambda: Certificate.parse(built())) == "accepted"
    assert code_of(lambda: Certificate.parse(built(ed25519.Ed25519PrivateKey.generate()))) == "certificate-algorithm"
    assert code_of(lambda: Certificate.parse(built(ec.generate_private_key(ec.SECP384R1())))) == "certificate-algorithm"
    assert code_of(lambda: Certificate.parse(built(names=("A", "B")))) == "certificate-syntax"
    assert code_of(lambda: Certificate.parse(built(names=()))) == "certificate-syntax"
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")
    assert code_of(lambda: Certificate.parse(built(extension=unknown))) == "certificate-extension"
    assert code_of(lambda: Certificate.parse(bytes(20_000))) == "certificate-size"


@given(st.data())
def test_a_damaged_certificate_is_malformed_or_read(data: st.DataObject) -> None:
    der = bytearray(PKI.pck.certificate.der)
    at = data.draw(st.integers(0, len(der) - 1))
    if data.draw(st.booleans()):
        der = der[:at]
    else:
        der[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = Certificate.parse(bytes(der))
    except Malformed:
        return
    assert code_of(lambda: read.check_signed_by(PKI.ca.certificate.public_key, "some-code")) == "some-code"


def test_a_signature_has_no_unused_bits() -> None:
    """A BIT STRING that leaves a zero bit unused holds the same signature: one more certificate that nobody signed."""
    roots = (SimulatedPki.derive(bytes([number]) * 32).root_der() for number in range(50))
    good = next(each for each in roots if each[-1] & 1 == 0)
    at = len(good) - len(Certificate.parse(good).signature) - 1
    assert good[at] == 0
    assert code_of(lambda: Certificate.parse(good[:at] + b"\x01" + good[at + 1 :])) == "certificate-syntax"
