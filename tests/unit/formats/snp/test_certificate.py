from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.pki import der
from kloister.formats.snp import AmdCertificate, AmdCrl, Product, VekExtensions, check_pss, parse_certificates
from kloister.formats.snp.vek import OID
from tests.support.evidence import code_of
from tests.support.snp import ARK_KEY, NOW, Issued, SnpForge, name, pem, rsa_key, snp_case

FORGE = SnpForge()
VEK = FORGE.vek_der()
GENUINE = "v2-SEV-Milan-377e6241"


def test_a_real_certificate_reads_as_openssl_shows_it() -> None:
    vek = AmdCertificate.parse(snp_case(GENUINE).vek)
    assert vek.common_name == "SEV-VCEK"
    assert vek.serial == 0
    assert vek.not_before == datetime(2022, 9, 24, 0, 55, 28, tzinfo=UTC)
    assert vek.not_after == datetime(2029, 9, 24, 0, 55, 28, tzinfo=UTC)
    assert not any((vek.is_ca, vek.may_sign_certificates, vek.may_sign_crls))
    ask, ark = parse_certificates(snp_case(GENUINE).chain, "ask-chain")
    assert (ask.common_name, ask.serial, ask.is_ca, ask.may_sign_certificates) == ("SEV-Milan", 65537, True, True)
    assert (ark.common_name, ark.serial, ark.is_ca, ark.may_sign_crls) == ("ARK-Milan", 65536, True, True)
    assert vek.issuer == ask.subject
    check_pss(ask.rsa_key, vek.signature, vek.tbs, "vek-signature", "the VEK")


def test_a_made_certificate_reads_as_the_library_reads_it() -> None:
    for data in (VEK, FORGE.ask_der(), FORGE.ark_der()):
        ours, theirs = AmdCertificate.parse(data), x509.load_der_x509_certificate(data)
        assert ours.raw == data
        assert (ours.tbs, ours.signature) == (theirs.tbs_certificate_bytes, theirs.signature)
        assert (ours.subject, ours.issuer) == (theirs.subject.public_bytes(), theirs.issuer.public_bytes())
        assert ours.serial == theirs.serial_number
        assert (ours.not_before, ours.not_after) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
        assert ours.public_key == theirs.public_key()


def test_files_hold_pem_or_der() -> None:
    ask, ark = FORGE.ask_der(), FORGE.ark_der()
    expected = [ask, ark]
    for data in (ask + ark, pem(ask) + pem(ark), b"\n" + pem(ask) + b"\r\n" + pem(ark) + b"\0"):
        assert [one.raw for one in parse_certificates(data, "ask-chain")] == expected


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "ask-chain-pem"),
        (b"text", "ask-chain-pem"),
        (pem(VEK) + b"text", "ask-chain-pem"),
        (pem(VEK) * 9, "ask-chain-pem"),
        (b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n", "ask-chain-pem"),
        (b"\n" * (8 * 2 * 16 * 1024 + 1), "ask-chain-size"),
        (VEK[:-1], "amd-certificate-der"),
        (b"\x30\x00", "amd-certificate-syntax"),
    ],
)
def test_other_files_are_refused(data: bytes, code: str) -> None:
    assert code_of(lambda: parse_certificates(data, "ask-chain")) == code


def _code(data: bytes) -> str:
    return code_of(lambda: AmdCertificate.parse(data))


def test_other_algorithms_and_keys_are_refused() -> None:
    key, small = rsa_key(*ARK_KEY), ec.derive_private_key(5, ec.SECP256R1())
    bare = x509.CertificateBuilder(name("a"), name("b"), None, 1).not_valid_before(NOW).not_valid_after(NOW)
    bare = bare.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder, small_key = bare.public_key(key.public_key()), bare.public_key(small.public_key())
    sha384, mgf = hashes.SHA384(), padding.MGF1(hashes.SHA384())
    good = builder.sign(key, sha384, rsa_padding=padding.PSS(mgf, 48))
    others = {
        "amd-certificate-algorithm": [
            builder.sign(key, sha384),  # PKCS #1 version 1.5
            builder.sign(small, sha384),
            builder.sign(key, sha384, rsa_padding=padding.PSS(mgf, 47)),
            builder.sign(key, hashes.SHA256(), rsa_padding=padding.PSS(padding.MGF1(hashes.SHA256()), 48)),
        ],
        "amd-certificate-key": [small_key.sign(key, sha384, rsa_padding=padding.PSS(mgf, 48))],
    }
    assert code_of(lambda: AmdCertificate.parse(good.public_bytes(Encoding.DER))) == "accepted"
    for code, certificates in others.items():
        for certificate in certificates:
            assert _code(certificate.public_bytes(Encoding.DER)) == code


def test_an_unknown_critical_extension_is_refused() -> None:
    forge = replace(FORGE, vek=Issued(unknown_critical=True))
    assert _code(forge.vek_der()) == "amd-certificate-extension"


def test_a_certificate_without_key_usage_may_sign_nothing() -> None:
    certificate = AmdCertificate.parse(VEK)
    assert code_of(lambda: certificate.rsa_key) == "amd-certificate-key"
    assert code_of(lambda: AmdCertificate.parse(FORGE.ask_der()).p384_key) == "amd-certificate-key"


@given(st.integers(0, len(VEK) * 8 - 1))
def test_a_flipped_bit_raises_nothing_else(bit: int) -> None:
    data = bytearray(VEK)
    data[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(Malformed):  # no other exception
        VekExtensions.parse(AmdCertificate.parse(bytes(data)).extensions)


@given(st.integers(0, len(VEK) - 1))
def test_every_cut_is_malformed(size: int) -> None:
    with pytest.raises(Malformed):
        AmdCertificate.parse(VEK[:size])


@given(st.binary(max_size=300))
def test_other_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        AmdCertificate.parse(b"\x30" + data)
    with pytest.raises(Malformed):
        AmdCrl.parse(data)


def test_a_size_beyond_any_is_refused() -> None:
    assert _code(bytes(16 * 1024 + 1)) == "amd-certificate-size"
    assert code_of(lambda: AmdCrl.parse(bytes(1024 * 1024 + 1))) == "amd-crl-size"


_LEVEL = st.integers(0, 255)
_TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=40)
_HWID = st.binary(min_size=64, max_size=64) | st.binary(min_size=8, max_size=8)


@given(_LEVEL, _TEXT, st.dictionaries(st.integers(1, 9), _LEVEL), st.none() | _HWID, st.none() | _TEXT)
def test_extensions_are_parsed_as_built(
    version: int, product: str, levels: dict[int, int], hwid: bytes | None, csp: str | None
) -> None:
    extensions = VekExtensions(structure_version=version, product_name=product, levels=levels, hwid=hwid, csp_id=csp)
    assert VekExtensions.parse(extensions.build()) == extensions


@given(st.dictionaries(st.sampled_from([OID + bytes([arc]) for arc in range(1, 6)]), st.binary(max_size=70)))
def test_other_extensions_are_malformed(contents: dict[bytes, bytes]) -> None:
    with contextlib.suppress(Malformed):  # no other exception
        VekExtensions.parse(contents)


def test_a_hardware_id_may_be_wrapped() -> None:
    for size in (64, 8):
        hwid = bytes(range(size))
        wrapped = {**FORGE.extensions().build(), OID + b"\4": der.encode(der.OCTET_STRING, hwid)}
        assert VekExtensions.parse(wrapped).hwid == hwid


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "accepted"),
        ({b"\1": der.encode_unsigned(der.INTEGER, 256)}, "vek-extension-field"),
        ({b"\1": b"\2\1\xff"}, "vek-extension-der"),
        ({b"\2": b"\x16\0"}, "vek-extension-field"),
        ({b"\2": b"\x16\1\n"}, "vek-extension-field"),
        ({b"\2": b"\x0c\5Milan"}, "vek-extension-der"),
        ({b"\3\1": b"\2\2\1\0"}, "vek-extension-field"),
        ({b"\4": bytes(63)}, "vek-extension-der"),
        ({b"\4": der.encode(der.OCTET_STRING, bytes(9))}, "vek-extension-field"),
        ({b"\5": b"\x16\1\x80"}, "vek-extension-field"),
    ],
)
def test_damaged_extensions_have_their_reason(change: dict[bytes, bytes], code: str) -> None:
    contents = FORGE.extensions().build() | {OID + arcs: content for arcs, content in change.items()}
    assert code_of(lambda: VekExtensions.parse(contents)) == code


def test_product_and_structure_version_must_be_there() -> None:
    for missing in (b"\1", b"\2"):
        contents = {oid: content for oid, content in FORGE.extensions().build().items() if oid != OID + missing}
        assert code_of(lambda: VekExtensions.parse(contents)) == "vek-extension-field"  # noqa: B023 -- called at once


def test_differences_name_the_level() -> None:
    turin, milan = SnpForge.of(Product.TURIN), SnpForge.of(Product.MILAN)
    assert turin.extensions().differences(turin.report.reported_tcb, Product.TURIN) == []
    names = {}
    for product, forge in ((Product.MILAN, milan), (Product.TURIN, turin)):
        for at in range(8):
            tcb = bytearray(forge.report.reported_tcb)
            tcb[at] += 1
            (words,) = forge.extensions().differences(bytes(tcb), product)
            names[product, at] = words.split(" (")[0].rsplit(" ", 1)[0]
    assert [names[Product.MILAN, at] for at in range(8)] == [
        "bootloader", "TEE", "byte 2", "byte 3", "byte 4", "byte 5", "SNP", "microcode",
    ]  # fmt: skip
    assert [names[Product.TURIN, at] for at in range(8)] == [
        "FMC", "bootloader", "TEE", "SNP", "byte 4", "byte 5", "byte 6", "microcode",
    ]  # fmt: skip


def test_a_list_is_read() -> None:
    for data in (FORGE.crl(2, 77), x509.load_der_x509_crl(FORGE.crl(2, 77)).public_bytes(Encoding.PEM)):
        crl = AmdCrl.parse(data)
        assert crl.revoked == {2, 77}
        assert crl.issuer == AmdCertificate.parse(FORGE.ark_der()).subject
        crl.check_signed_by(rsa_key(*ARK_KEY).public_key(), "ark-crl-signature")
    assert hashlib.sha256(crl.tbs).digest()


def test_damaged_lists_have_their_reason() -> None:
    builder = x509.CertificateRevocationListBuilder(name("ARK-Milan"), NOW, NOW)
    other = builder.sign(rsa_key(*ARK_KEY), hashes.SHA384()).public_bytes(Encoding.DER)
    assert code_of(lambda: AmdCrl.parse(other)) == "amd-crl-algorithm"
    assert code_of(lambda: AmdCrl.parse(FORGE.crl(critical=True))) == "amd-crl-extension"
    assert code_of(lambda: AmdCrl.parse(FORGE.crl()[:-1])) == "amd-crl-syntax"
