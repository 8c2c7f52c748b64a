from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
from kloister.formats.dcap import (
    Authentication,
    BodyType,
    CertificationData,
    CertificationType,
    Header,
    Quote,
    TeeType,
    tee_type,
)
from tests.support.evidence import ENCLAVE, code_of
from tests.support.paths import vectors

SIZES = {BodyType.SGX: 384, BodyType.TD10: 584, BodyType.TD15: 648, BodyType.TD15EX: 885}


def quotes() -> st.SearchStrategy[Quote]:
    certification = st.builds(CertificationData, type=st.sampled_from(CertificationType), data=st.binary(max_size=60))
    authentication = st.builds(
        Authentication,
        signature=st.binary(min_size=64, max_size=64),
        attestation_key=st.binary(min_size=64, max_size=64),
        qe_report=st.just(ENCLAVE.build()),
        qe_report_signature=st.binary(min_size=64, max_size=64),
        qe_auth_data=st.binary(max_size=40),
        certification=certification,
    )
    shapes = st.sampled_from(
        [(3, BodyType.SGX), (4, BodyType.SGX), (4, BodyType.TD10)] + [(5, each) for each in BodyType]
    )
    return st.builds(_quote, shapes, authentication, st.binary(min_size=20, max_size=20), st.binary(max_size=30))


def _quote(shape: tuple[int, BodyType], authentication: Authentication, user_data: bytes, padding: bytes) -> Quote:
    version, body_type = shape
    tee = TeeType.SGX if body_type is BodyType.SGX else TeeType.TDX
    header = Header(version=version, tee_type=tee, qe_svn=8, pce_svn=13, user_data=user_data)
    body = ENCLAVE.build() if body_type is BodyType.SGX else bytes(SIZES[body_type])
    return Quote(
        header=header,
        body_type=body_type,
        body=body,
        signed=Quote.to_sign(header, body, body_type),
        authentication=authentication,
        padding=padding,
    )


@given(quotes())
def test_parse_reads_what_build_wrote(quote: Quote) -> None:
    assert Quote.parse(quote.build()) == quote


@given(quotes(), st.data())
def test_any_cut_is_malformed(quote: Quote, data: st.DataObject) -> None:
    whole = replace(quote, padding=b"").build()
    with pytest.raises(Malformed):
        Quote.parse(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(quotes(), st.data())
def test_a_flipped_byte_is_malformed_or_read_exactly(quote: Quote, data: st.DataObject) -> None:
    damaged = bytearray(quote.build())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Malformed):
        assert Quote.parse(bytes(damaged)).build() == damaged


@given(st.binary(max_size=600))
def test_any_bytes_are_malformed_or_read(data: bytes) -> None:
    with pytest.raises(Malformed):
        Quote.parse(data)


def _with(quote: bytes, at: int, value: bytes) -> bytes:
    return quote[:at] + value + quote[at + len(value) :]


@pytest.fixture(name="v3")
def _v3() -> bytes:
    return vectors("evidence", "ownpki/sgx-v3-uptodate/quote.bin").read_bytes()


def test_a_real_quote_is_read(v3: bytes) -> None:
    quote = Quote.parse(v3)
    assert (quote.header.version, quote.body_type) == (3, BodyType.SGX)
    assert quote.signed == v3[:432]
    assert quote.report.build() == quote.body == v3[48:432]
    assert quote.authentication.certification.type is CertificationType.PCK_CHAIN
    assert quote.authentication.certification.data.startswith(b"-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize(
    ("at", "value", "code"),
    [
        (0, b"\x02", "quote-version"),
        (0, b"\x06", "quote-version"),
        (2, b"\x03", "quote-key-type"),
        (4, b"\x81", "quote-tee"),
        (4, b"\x01", "quote-tee"),
        (12, b"\0", "quote-vendor"),
        (432, b"\xff\xff\xff\xff", "quote-truncated"),
        (432, b"\0\0\0\0", "quote-authentication-truncated"),
        (436 + 576, b"\xff\xff", "quote-authentication-truncated"),
        (436 + 610, b"\x08\0", "certification-type"),
        (436 + 610, b"\0\0", "certification-type"),
        (436 + 612, b"\xff\xff\xff\x7f", "quote-authentication-truncated"),
        (436 + 612, b"\x01\0\0\0", "quote-authentication-trailing"),
    ],
)
def test_each_structural_rule_has_its_code(v3: bytes, at: int, value: bytes, code: str) -> None:
    assert code_of(lambda: Quote.parse(v3)) == "accepted"
    assert code_of(lambda: Quote.parse(_with(v3, at, value))) == code


def test_the_header_says_what_made_a_quote_whatever_follows(v3: bytes) -> None:
    domain = Header(version=4, tee_type=TeeType.TDX).build()
    assert [tee_type(each) for each in (v3, v3[:48], domain)] == [TeeType.SGX, TeeType.SGX, TeeType.TDX]
    assert [tee_type(each) for each in (b"", v3[:47], _with(v3, 4, b"\x81"))] == [None, None, None]


def test_asking_a_td_quote_for_an_sgx_report_is_our_bug() -> None:
    quote = Quote.parse(vectors("evidence", "teepot-tdx-1/quote.bin").read_bytes())
    assert quote.body_type is BodyType.TD10
    with pytest.raises(Misused) as caught:
        _ = quote.report
    assert caught.value.code == "quote-body"


VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
FULL = Authentication(
    signature=bytes([0xA1]) * 64,
    attestation_key=bytes([0xA2]) * 64,
    qe_report=ENCLAVE.build(),
    qe_report_signature=bytes([0xA3]) * 64,
    qe_auth_data=bytes([0xA4]) * 5,
    certification=CertificationData(type=CertificationType.PCK_CHAIN, data=bytes([0xA5]) * 7),
)
LAYOUTS = [  # version, name and number of the body type, where the body starts and ends
    (3, "SGX", 1, 48, 432),
    (4, "SGX", 1, 48, 432),
    (4, "TD10", 2, 48, 632),
    (5, "SGX", 1, 54, 438),
    (5, "TD10", 2, 54, 638),
    (5, "TD15", 3, 54, 702),
    (5, "TD15EX", 4, 54, 939),
]
layouts = pytest.mark.parametrize(("version", "name", "number", "start", "end"), LAYOUTS)


def _laid_out(version: int, number: int, size: int) -> bytes:
    """A quote as the tables of the specifications lay it out, byte by byte."""
    tee = b"\0\0\0\0" if number == 1 else b"\x81\0\0\0"
    header = bytes([version, 0, 2, 0]) + tee + bytes([8, 0x12, 13, 0x34]) + VENDOR + bytes(range(0x20, 0x34))
    described = bytes([number, 0]) + size.to_bytes(4, "little") if version == 5 else b""
    body = ENCLAVE.build() if number == 1 else bytes([0xB0]) * size
    qe = ENCLAVE.build() + b"\xa3" * 64 + b"\5\0" + b"\xa4" * 5 + b"\5\0" + b"\7\0\0\0" + b"\xa5" * 7
    if version > 3:
        qe = b"\6\0" + len(qe).to_bytes(4, "little") + qe
    data = b"\xa1" * 64 + b"\xa2" * 64 + qe
    return header + described + body + len(data).to_bytes(4, "little") + data


@layouts
def test_every_layout_is_read_and_written_byte_by_byte(
    version: int, name: str, number: int, start: int, end: int
) -> None:
    raw = _laid_out(version, number, end - start)
    quote = Quote.parse(raw + b"padding")
    assert quote.header == Header(
        version=version,
        key_type=2,
        tee_type=TeeType.SGX if number == 1 else TeeType.TDX,
        qe_svn=0x1208,
        pce_svn=0x340D,
        qe_vendor_id=VENDOR,
        user_data=bytes(range(0x20, 0x34)),
    )
    assert (quote.body_type, quote.body_type.name) == (number, name)
    assert (quote.body, quote.signed) == (raw[start:end], raw[:end])
    assert (quote.authentication, quote.padding) == (FULL, b"padding")
    assert quote.build() == raw + b"padding"
    assert Quote.to_sign(quote.header, quote.body, BodyType[name]) == quote.signed


def test_what_a_header_does_not_say_is_zero_or_intels() -> None:
    assert Header(version=3).build() == b"\3\0" + b"\2\0" + bytes(8) + VENDOR + bytes(20)


@layouts
def test_a_quote_that_ends_early_says_in_what(version: int, name: str, number: int, start: int, end: int) -> None:
    raw = _laid_out(version, number, end - start)
    for size in (0, 47, 48, 53, 54, end - 1, end, end + 3, end + 4, len(raw) - 1):
        with pytest.raises(Malformed) as caught:
            Quote.parse(raw[:size])
        described = version == 5 and 48 <= size < 54
        inside = "header" if size < 48 else "body's description" if described else "body or its signature data"
        assert (caught.value.code, inside in str(caught.value)) == ("quote-truncated", True), (name, size)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_cut_in_the_signature_data_says_in_what(version: int) -> None:
    data = FULL.build(version)
    for size in range(len(data)):
        with pytest.raises(Malformed) as caught:
            Authentication.parse(data[:size], version)
        assert caught.value.code == "quote-authentication-truncated"
        assert ("the attestation key" in str(caught.value)) == (size < 128)


@pytest.mark.parametrize(
    ("size", "inside", "wanted", "left"),
    [
        (0, "QE report", 450, 0),
        (449, "QE report", 450, 449),
        (450, "QE authentication data", 5, 0),
        (454, "QE authentication data", 5, 4),
        (455, "certification data", 6, 0),
        (460, "certification data", 6, 5),
        (461, "certification data", 7, 0),
        (467, "certification data", 7, 6),
    ],
)
def test_the_part_of_the_qe_that_ends_early_says_in_what(size: int, inside: str, wanted: int, left: int) -> None:
    tail = FULL.build(3)[128:]
    assert len(tail) == 468
    for version in (3, 4, 5):
        cut = tail[:size] if version == 3 else b"\6\0" + size.to_bytes(4, "little") + tail[:size]
        with pytest.raises(Malformed, match=f"inside .*{inside}.*: {wanted} bytes wanted, {left} left") as caught:
            Authentication.parse(FULL.build(3)[:128] + cut, version)
        assert caught.value.code == "quote-authentication-truncated"


@pytest.mark.parametrize("version", [3, 4, 5])
def test_nothing_may_follow_in_the_signature_data(version: int) -> None:
    data, raw = FULL.build(version), _laid_out(version, 1, 384)
    end = len(raw) - len(data) - 4
    assert code_of(lambda: Authentication.parse(data, version)) == "accepted"
    assert code_of(lambda: Authentication.parse(data + b"\0", version)) == "quote-authentication-trailing"
    longer = _with(raw, end, (len(data) + 1).to_bytes(4, "little")) + b"\0"
    assert code_of(lambda: Quote.parse(raw + b"\0")) == "accepted"  # padding
    assert code_of(lambda: Quote.parse(longer)) == "quote-authentication-trailing"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "PPID_PLAIN"),
        (2, "PPID_RSA2048"),
        (3, "PPID_RSA3072"),
        (4, "PCK_LEAF"),
        (5, "PCK_CHAIN"),
        (6, "QE_REPORT"),
        (7, "PLATFORM_MANIFEST"),
    ],
)
def test_certification_data_has_types_1_to_7(number: int, name: str) -> None:
    data = bytes([number, 0, 3, 0, 0, 0]) + b"abc"
    found = CertificationData.parse(data)
    assert (found.type.name, found.data, found.build()) == (name, b"abc", data)
    for other in (0, 8, 256 + number):
        changed = other.to_bytes(2, "little") + data[2:]
        assert code_of(lambda changed=changed: CertificationData.parse(changed)) == "certification-type"  # type: ignore[misc]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 7, 8])
def test_from_version_4_on_the_outer_certification_data_is_of_type_6(version: int, kind: int) -> None:
    raw = FULL.build(version)
    assert raw[128:130] == b"\6\0"
    assert code_of(lambda: Authentication.parse(_with(raw, 128, bytes([kind])), version)) == "certification-type"


@pytest.mark.parametrize(("version", "tee", "code"), [(3, 0, "accepted"), (3, 0x81, "quote-tee"), (4, 0, "accepted")])
def test_the_tee_goes_with_the_version(version: int, tee: int, code: str) -> None:
    raw = _laid_out(version, 1, 384)
    assert code_of(lambda: Quote.parse(_with(raw, 4, bytes([tee])))) == code
    assert code_of(lambda: Quote.parse(_with(raw, 7, b"\x01"))) == "quote-tee"


@pytest.mark.parametrize(("number", "size"), [(1, 384), (2, 584), (3, 648), (4, 885)])
def test_type_and_size_of_a_body_of_version_5_agree_with_each_other_and_the_tee(number: int, size: int) -> None:
    raw = _laid_out(5, number, size)
    assert code_of(lambda: Quote.parse(raw)) == "accepted"
    assert code_of(lambda: Quote.parse(_with(raw, 4, b"\x81" if number == 1 else b"\0"))) == "quote-body-type"
    for unfit in (size - 1, size + 1, size + 65536):
        changed = _with(raw, 50, unfit.to_bytes(4, "little")) + b"\0"
        assert code_of(lambda changed=changed: Quote.parse(changed)) == "quote-body-type"  # type: ignore[misc]
    for unfit in {0, 1, 2, 3, 4, 5, 256 + number} - {number}:
        changed = _with(raw, 48, unfit.to_bytes(2, "little"))
        assert code_of(lambda changed=changed: Quote.parse(changed)) == "quote-body-type"  # type: ignore[misc]


def test_a_quote_has_at_most_128_kib() -> None:
    raw = _laid_out(4, 2, 584)
    assert len(Quote.parse(raw.ljust(131072, b"\0")).build()) == 131072
    assert code_of(lambda: Quote.parse(raw.ljust(131073, b"\0"))) == "quote-size"


def test_a_header_has_48_bytes() -> None:
    raw = _laid_out(3, 1, 384)
    assert Header.parse(raw[:48]).build() == raw[:48]
    assert [code_of(lambda size=size: Header.parse(raw[:size])) for size in (47, 48, 49)] == [  # type: ignore[misc]
        "quote-truncated",
        "accepted",
        "quote-trailing",
    ]
