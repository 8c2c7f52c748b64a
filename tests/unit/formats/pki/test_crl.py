from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.pki import Crl, der
from kloister.formats.pki.crl import MAX_SIZE
from kloister.simulator.pki import SimulatedPki, revocation_list
from tests.support.evidence import NOW, SEED, code_of

PKI = SimulatedPki.derive(SEED)
START = NOW.replace(minute=0)
DER = revocation_list(PKI.ca, START, START + timedelta(days=30), (5, 7))
PEM = b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(DER) + b"-----END X509 CRL-----\n"


@pytest.mark.parametrize("form", [DER, DER.hex().encode(), DER.hex().upper().encode() + b"\n", PEM])
def test_all_three_forms_are_read(form: bytes) -> None:
    crl = Crl.parse(form)
    assert crl.revoked == {5, 7}
    assert crl.issuer == PKI.ca.certificate.subject
    assert (crl.this_update, crl.next_update) == (START, START + timedelta(days=30))
    crl.check_signed_by(PKI.ca.certificate.public_key, "some-code", "the list")
    assert code_of(lambda: crl.check_signed_by(PKI.root.certificate.public_key, "some-code", "x")) == "some-code"


@pytest.mark.parametrize(
    "data", [b"", b"0", b"hello", b"30", DER[:-1], DER + b"\0", PEM[:-30], DER.hex().encode()[:-1]]
)
def test_what_is_no_list_is_malformed(data: bytes) -> None:
    assert code_of(lambda: Crl.parse(data)) == "crl-syntax"


def test_a_huge_list_is_not_read() -> None:
    assert code_of(lambda: Crl.parse(bytes(MAX_SIZE + 1))) == "crl-size"
    assert code_of(lambda: Crl.parse(bytes(MAX_SIZE))) == "crl-syntax"
    assert MAX_SIZE == 4 << 20


def test_lists_that_mean_something_else_are_malformed() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    plain = x509.CertificateRevocationListBuilder(name, START, START + timedelta(days=1))
    delta = plain.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    key, other = PKI.ca.key, ec.generate_private_key(ec.SECP384R1())
    assert code_of(lambda: Crl.parse(plain.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))) == "accepted"
    assert code_of(lambda: Crl.parse(delta.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))) == "crl-extension"
    signed = plain.sign(other, hashes.SHA384()).public_bytes(Encoding.DER)
    assert code_of(lambda: Crl.parse(signed)) == "crl-algorithm"


def test_a_list_without_an_end_is_malformed() -> None:
    # cryptography cannot build one: leave nextUpdate, the fifth field of tbsCertList, out of the encoding
    tbs, *rest = der.split(der.single(DER, der.SEQUENCE, "list"), "list")
    fields = der.split(tbs.content, "list")
    assert fields[4].content.decode() == (START + timedelta(days=30)).strftime("%y%m%d%H%M%SZ")

    def encoded(chosen: tuple[der.Element, ...]) -> bytes:
        whole = [der.Element(der.SEQUENCE, _joined(chosen)), *rest]
        return der.encode(der.SEQUENCE, _joined(whole))

    assert code_of(lambda: Crl.parse(encoded(fields))) == "accepted"
    with pytest.raises(Malformed, match=r"next one is due.*\[crl-syntax\]"):
        Crl.parse(encoded(fields[:4] + fields[5:]))


def _joined(elements: Iterable[der.Element]) -> bytes:
    return b"".join(der.encode(each.tag, each.content) for each in elements)


@given(st.integers(0, len(DER) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_malformed_or_breaks_the_signature(at: int, bit: int) -> None:
    damaged = bytearray(DER)
    damaged[at] ^= 1 << bit
    try:
        crl = Crl.parse(bytes(damaged))
    except Malformed:
        return
    assert code_of(lambda: crl.check_signed_by(PKI.ca.certificate.public_key, "some-code", "x")) == "some-code"


def test_dates_are_aware() -> None:
    assert Crl.parse(DER).this_update.tzinfo == UTC
    assert Crl.parse(DER).this_update < datetime(2027, 1, 1, tzinfo=UTC)


def test_a_signature_has_no_unused_bits() -> None:
    """A BIT STRING that leaves a zero bit unused holds the same signature: one more list that nobody signed."""
    lists = (revocation_list(PKI.ca, START, START + timedelta(days=30), (serial,)) for serial in range(1, 50))
    good = next(each for each in lists if each[-1] & 1 == 0)
    at = len(good) - len(Crl.parse(good).signature) - 1
    assert good[at] == 0
    assert code_of(lambda: Crl.parse(good[:at] + b"\x01" + good[at + 1 :])) == "crl-syntax"
