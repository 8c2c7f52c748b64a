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


def test_version_5_states_type_and_size_of_the_body() -> None:
    authentication = Authentication(
        signature=bytes(64),
        attestation_key=bytes(64),
        qe_report=bytes(384),
        qe_report_signature=bytes(64),
        qe_auth_data=b"",
        certification=CertificationData(type=CertificationType.PCK_CHAIN, data=b""),
    )
    good = _quote((5, BodyType.SGX), authentication, bytes(20), b"").build()
    assert code_of(lambda: Quote.parse(good)) == "accepted"
    assert code_of(lambda: Quote.parse(_with(good, 48, b"\x05"))) == "quote-body-type"
    assert code_of(lambda: Quote.parse(_with(good, 48, b"\x02"))) == "quote-body-type"
    assert code_of(lambda: Quote.parse(_with(good, 50, b"\x81"))) == "quote-body-type"
    assert code_of(lambda: Quote.parse(_with(good, 4, b"\x81"))) == "quote-body-type"
    outer = 54 + 384 + 4 + 128
    assert code_of(lambda: Quote.parse(_with(good, outer, b"\x05"))) == "certification-type"


def test_a_huge_quote_is_not_read(v3: bytes) -> None:
    assert code_of(lambda: Quote.parse(v3 + bytes(128 * 1024))) == "quote-size"


def test_asking_a_td_quote_for_an_sgx_report_is_our_bug() -> None:
    quote = Quote.parse(vectors("evidence", "teepot-tdx-1/quote.bin").read_bytes())
    assert quote.body_type is BodyType.TD10
    with pytest.raises(Misused):
        _ = quote.report
