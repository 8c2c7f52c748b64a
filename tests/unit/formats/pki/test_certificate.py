from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.dcap import PckExtension
from kloister.formats.dcap.pck_extension import OID
from kloister.formats.pki import Certificate, der, parse_chain
from kloister.formats.pki.certificate import MAX_CHAIN, MAX_SIZE
from kloister.simulator.pki import SimulatedPki, derive_key
from tests.support.evidence import SEED, code_of

PKI = SimulatedPki.derive(SEED)
CHAIN = PKI.pck_chain_pem().encode()
KEY = derive_key(SEED, "test")
COMMON_NAME, ORGANIZATION = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME


CERTIFICATE = PKI.pck.certificate.pem().encode()
TEXT = 2 * 8 * 16 * 1024  # bytes of PEM that are read


def built(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = KEY,
    names: tuple[str, ...] = ("Somebody",),
    extension: x509.ExtensionType | None = None,
    *,
    hashed: hashes.SHA256 | hashes.SHA384 = hashes.SHA256(),  # noqa: B008 -- it has no state
    critical: bool = True,
    subject: x509.Name | None = None,
) -> bytes:
    subject = subject or x509.Name([x509.NameAttribute(COMMON_NAME, each) for each in names])
    builder = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=5,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2027, 1, 1, tzinfo=UTC),
    )
    if extension:
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashed
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
        (CHAIN * 2 + CERTIFICATE * 3, "chain-pem"),
        (CHAIN + b" " * (TEXT - len(CHAIN) + 1), "chain-size"),
        (b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n", "chain-pem"),
        (CERTIFICATE.replace(b"\n-----END", b"====\n-----END"), "chain-pem"),
        (b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "certificate-syntax"),
    ],
)
def test_what_is_no_chain_is_malformed(pem: bytes, code: str) -> None:
    assert code_of(lambda: parse_chain(pem, "chain")) == code


def test_limits_of_a_chain_are_reached() -> None:
    assert (MAX_CHAIN, MAX_SIZE) == (8, 16 * 1024)
    assert len(parse_chain(CHAIN * 2 + CERTIFICATE * 2, "chain")) == MAX_CHAIN
    assert len(parse_chain(CHAIN + b" " * (TEXT - len(CHAIN)), "chain")) == 3


def test_certificates_that_are_known_are_not_read_again() -> None:
    leaf, ca, root = parse_chain(CHAIN, "chain")
    again = parse_chain(CHAIN, "chain", (root, leaf))
    assert (again[0] is leaf, again[1] is ca, again[2] is root) == (True, False, True)
    assert again[1] == ca


def test_pem_is_what_others_write() -> None:
    for each in parse_chain(CHAIN, "chain"):
        pem = x509.load_der_x509_certificate(each.der).public_bytes(Encoding.PEM)
        assert each.pem().encode() == pem


def test_unusual_certificates_are_malformed() -> None:
    assert code_of(lambda: Certificate.parse(built())) == "accepted"
    assert code_of(lambda: Certificate.parse(built(ed25519.Ed25519PrivateKey.generate()))) == "certificate-algorithm"
    assert code_of(lambda: Certificate.parse(built(ec.generate_private_key(ec.SECP384R1())))) == "certificate-algorithm"
    assert code_of(lambda: Certificate.parse(built(hashed=hashes.SHA384()))) == "certificate-algorithm"
    assert code_of(lambda: Certificate.parse(built(names=("A", "B")))) == "certificate-syntax"
    assert code_of(lambda: Certificate.parse(built(names=()))) == "certificate-syntax"
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")
    assert code_of(lambda: Certificate.parse(built(extension=unknown))) == "certificate-extension"
    assert code_of(lambda: Certificate.parse(built(extension=x509.OCSPNoCheck()))) == "certificate-extension"
    assert code_of(lambda: Certificate.parse(bytes(16 * 1024))) == "certificate-syntax"
    assert code_of(lambda: Certificate.parse(bytes(16 * 1024 + 1))) == "certificate-size"


def test_a_key_of_another_curve_or_off_the_curve_is_malformed() -> None:
    """Although what signed the certificate is of P-256 with SHA-256."""
    good = built()
    spki = Certificate.parse(good).spki
    other = ec.generate_private_key(ec.SECP256K1()).public_key()
    twisted = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    tbs, *rest = _elements(der.single(good, der.SEQUENCE, "certificate"))
    fields = [each for each in _elements(tbs.content) if _encoded(each) != spki]
    (key,) = _elements(twisted)
    assert code_of(lambda: Certificate.parse(_sequence(_element(*fields, key), *rest))) == "certificate-algorithm"
    off = spki[:-1] + bytes([spki[-1] ^ 1])
    assert code_of(lambda: Certificate.parse(good.replace(spki, off))) == "certificate-point"


def test_extensions_that_are_known_may_be_critical() -> None:
    leaf = PKI.pck.certificate
    url = x509.DistributionPoint([x509.UniformResourceIdentifier("http://example.org")], None, None, None)
    for extension in (
        x509.BasicConstraints(ca=False, path_length=None),
        x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(leaf.public_key),
        x509.CRLDistributionPoints([url]),
    ):
        read = Certificate.parse(built(extension=extension))
        assert (read.is_ca, read.path_length, read.extensions) == (False, None, {})
        assert (read.may_sign_data, read.may_sign_certificates, read.may_sign_crls) == (False, False, False)
    foreign = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")
    assert Certificate.parse(built(extension=foreign, critical=False)).extensions == {"1.2.3.4": b"\x05\0"}


@pytest.mark.parametrize("use", ["digital_signature", "key_cert_sign", "crl_sign", "key_agreement"])
def test_a_key_may_be_used_for_what_is_said(use: str) -> None:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "encipher_only", "decipher_only")
    uses = dict.fromkeys((*others, "digital_signature", "key_cert_sign", "crl_sign", "key_agreement"), False)
    read = Certificate.parse(built(extension=x509.KeyUsage(**{**uses, use: True})))
    said = (read.may_sign_data, read.may_sign_certificates, read.may_sign_crls)
    assert said == (use == "digital_signature", use == "key_cert_sign", use == "crl_sign")


def test_a_certificate_of_version_1_is_read() -> None:
    tbs, *rest = _elements(der.single(built(), der.SEQUENCE, "certificate"))
    version, *fields = _elements(tbs.content)
    assert version.content == bytes.fromhex("020102")
    old, new = (Certificate.parse(_sequence(_element(*each), *rest)) for each in (fields, [version, *fields]))
    assert (old.common_name, old.serial, old.is_ca) == ("Somebody", 5, False)
    assert (old.issuer, old.subject, old.spki) == (new.issuer, new.subject, new.spki)
    assert (old.tbs, new.tbs) == (_encoded(_element(*fields)), _encoded(tbs))


def _elements(data: bytes) -> tuple[der.Element, ...]:
    return der.split(data, "certificate")


def _encoded(*elements: der.Element) -> bytes:
    return b"".join(der.encode(each.tag, each.content) for each in elements)


def _element(*inside: der.Element) -> der.Element:
    return der.Element(der.SEQUENCE, _encoded(*inside))


def _sequence(*inside: der.Element) -> bytes:
    return _encoded(_element(*inside))


def _set(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName([x509.NameAttribute(*each) for each in attributes])


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ([_set((COMMON_NAME, "Café"), (ORGANIZATION, "Who"))], "Café"),
        ([_set((ORGANIZATION, "x" * 400)), _set((COMMON_NAME, "After"))], "After"),
        ([_set((COMMON_NAME, "Before")), _set((ORGANIZATION, "x" * 200))], "Before"),
        ([_set((COMMON_NAME, "x" * 64))], "x" * 64),
        ([_set((COMMON_NAME, "Second in its set"), (ORGANIZATION, "x"))], "Second in its set"),
        ([_set((COMMON_NAME, "Longer than the other"), (ORGANIZATION, "x")), _set((COMMON_NAME, "Second"))], None),
        ([x509.RelativeDistinguishedName([x509.NameAttribute(COMMON_NAME, "A", _ASN1Type.PrintableString)])], "A"),
        ([x509.RelativeDistinguishedName([x509.NameAttribute(COMMON_NAME, "A", _ASN1Type.BMPString)])], None),
        ([x509.RelativeDistinguishedName([x509.NameAttribute(COMMON_NAME, "A", _ASN1Type.T61String)])], None),
    ],
)
def test_the_only_common_name_is_found_wherever_it_stands(
    subject: list[x509.RelativeDistinguishedName], name: str | None
) -> None:
    certificate = built(subject=x509.Name(subject))
    if name is None:
        assert code_of(lambda: Certificate.parse(certificate)) == "certificate-syntax"
    else:
        assert Certificate.parse(certificate).common_name == name


def test_a_common_name_inside_of_a_text_is_none() -> None:
    """An organization of 384 bytes in all, written 82 0180: who takes 82 for its length goes on inside of the text."""

    def fake(content: str, size: int) -> str:
        return f"1{chr(size - 2)}0{chr(size - 4)}{content}".ljust(size, "x")

    inside = fake("\x06\x03U\x04\x03\x0c\x06Forged", 17) + fake("", 100) * 2
    last = fake("", 54)[:-15]  # it would swallow the 15 bytes of the common name
    text = "x" * (2 + 0x82 - 17) + inside + last
    genuine = x509.Name([_set((ORGANIZATION, text)), _set((COMMON_NAME, "Real"))])
    assert genuine.public_bytes()[4:8] == bytes.fromhex("31820180")
    assert Certificate.parse(built(subject=genuine)).common_name == "Real"


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
