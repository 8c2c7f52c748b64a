"""AESM's messages against Google's protobuf, against bytes written by hand, and against everything else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import Answer, Asked, Legacy
from kloister.formats.protocol.aesm_codes import AesmCode
from kloister.formats.wire.protobuf import embed
from tests.unit.formats.protocol.aesm_schema import GoogleRequest, GoogleResponse

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
blob = st.binary(max_size=300)
timeouts = st.none() | u32
asked = st.one_of(
    st.builds(aesm.InitQuote, st.none() | blob, st.booleans(), st.none() | u64, timeouts),
    st.builds(aesm.QuoteSize, st.none() | blob, timeouts),
    st.builds(aesm.GetQuote, blob, st.none() | blob, st.none() | blob, u32, timeouts),
    st.builds(aesm.SelectKey, st.none() | blob, timeouts),
    st.builds(aesm.KeyNumber, timeouts),
    st.builds(aesm.KeyIds, st.none() | u32, timeouts),
)
answers = st.one_of(
    st.builds(Answer, st.just(15), u32, target_info=st.none() | blob, key_size=st.none() | u64, key=st.none() | blob),
    st.builds(Answer, st.sampled_from([16, 21]), u32, count=st.none() | u32),
    st.builds(Answer, st.just(17), u32, quote=st.none() | blob, qe_report_info=st.none() | blob),
    st.builds(Answer, st.sampled_from([19, 22]), u32, key_ids=st.none() | blob),
    st.builds(Answer, st.sampled_from([aesm.UNSUPPORTED, *map(int, Legacy)]), u32),
)
# our names -> those of AESM's own schema
REQUEST_NAMES = {
    aesm.InitQuote: ("initQuoteEx", {"key_id": "att_key_id", "want_key": "b_pub_key_id", "size": "buf_size"}),
    aesm.QuoteSize: ("getQuoteSizeEx", {"key_id": "att_key_id"}),
    aesm.GetQuote: ("getQuoteEx", {"key_id": "att_key_id", "size": "buf_size"}),
    aesm.SelectKey: ("selectAttKeyID", {"ids": "att_key_id_list"}),
    aesm.KeyNumber: ("getSupportedAttKeyIDNum", {}),
    aesm.KeyIds: ("getSupportedAttKeyIDs", {"size": "buf_size"}),
}
ANSWER_NAMES = {
    15: ("initQuoteEx", {"target_info": "target_info", "key_size": "pub_key_id_size", "key": "pub_key_id"}),
    16: ("getQuoteSizeEx", {"count": "quote_size"}),
    17: ("getQuoteEx", {"quote": "quote", "qe_report_info": "qe_report_info"}),
    19: ("selectAttKeyID", {"key_ids": "selected_att_key_id"}),
    20: ("unsupportedRequest", {}),
    21: ("getSupportedAttKeyIDNum", {"count": "att_key_id_num"}),
    22: ("getSupportedAttKeyIDs", {"key_ids": "att_key_ids"}),
}


def googles_request(request: Asked) -> bytes:
    part, names = REQUEST_NAMES[type(request)]
    message = GoogleRequest()
    inner = getattr(message, part)
    inner.SetInParent()
    for field in request.FIELDS:
        value = getattr(request, field.name)
        if value is not None:
            setattr(inner, names.get(field.name, field.name), value)
    return bytes(message.SerializeToString())


def googles_answer(answer: Answer) -> bytes:
    part, names = ANSWER_NAMES[answer.number]
    message = GoogleResponse()
    inner = getattr(message, part)
    inner.errorCode = answer.code
    for ours, theirs in names.items():
        value = getattr(answer, ours)
        if value is not None:
            setattr(inner, theirs, value)
    return bytes(message.SerializeToString())


@given(asked)
def test_requests_are_the_bytes_of_googles_protobuf_and_are_read_again(request: Asked) -> None:
    data = aesm.build_request(request)
    assert data == googles_request(request)
    assert aesm.parse_request(data) == request


@given(answers)
def test_answers_are_the_bytes_of_googles_protobuf_and_are_read_again(answer: Answer) -> None:
    data = aesm.build_answer(answer)
    assert aesm.parse_answer(data) == answer
    if answer.number in ANSWER_NAMES:
        assert data == googles_answer(answer)


def test_gramines_two_calls_byte_by_byte() -> None:
    """`host_platform.c` asks so: the key's name into 32 bytes, then a quote into 8192."""
    key_id = b"\x0a\x80\x02" + aesm.ECDSA_P256
    init = b"\x7a" + b"\x87\x02" + key_id + b"\x18\x01" + b"\x20\x20"
    assert aesm.parse_request(init) == aesm.InitQuote(aesm.ECDSA_P256, want_key=True, size=32)
    report = bytes(range(256)) + bytes(176)
    get = b"\x8a\x01" + b"\xb9\x05" + b"\x0a\xb0\x03" + report + b"\x12\x80\x02" + aesm.ECDSA_P256 + b"\x20\x80\x40"
    assert aesm.parse_request(get) == aesm.GetQuote(report, aesm.ECDSA_P256, size=8192)
    refused = b"\x8a\x01\x02\x08\x2a"
    assert aesm.build_answer(Answer(17, AesmCode.ATT_KEY_NOT_INITIALIZED)) == refused


def test_the_key_id_is_the_one_that_clients_have_built_in() -> None:
    signer = bytes.fromhex("8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff")
    head = b"\0\0\0\0\x20\0" + signer + bytes(16) + b"\x01\0\0\0" + bytes(16 + 64 + 16) + b"\x02\0\0\0"
    assert head == aesm.ECDSA_P256[:158]
    assert head.ljust(256, b"\0") == aesm.ECDSA_P256
    assert aesm.is_ecdsa_p256(head + b"spid of EPID".ljust(98))
    assert not aesm.is_ecdsa_p256(head[:157] + b"\x01" + bytes(98))


@given(asked, st.data())
def test_a_cut_or_changed_request_is_refused_in_one_way(request: Asked, data: st.DataObject) -> None:
    body = aesm.build_request(request)
    at = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(Malformed):
        aesm.parse_request(body[:at])
    changed = bytearray(body)
    changed[at] ^= data.draw(st.integers(1, 255))
    with suppress(Malformed):
        aesm.parse_request(bytes(changed))
        GoogleRequest.FromString(bytes(changed))  # what is read here is a message for every other reader, too


@given(st.binary(max_size=200))
def test_garbage_is_refused_in_one_way(data: bytes) -> None:
    assert 1 <= aesm.request_number(data) <= 22
    for parse in (aesm.parse_request, aesm.parse_answer, aesm.parse_key_ids):
        with suppress(Malformed):
            parse(data)


def test_fields_of_newer_clients_are_passed_over() -> None:
    inner = (
        b"\x18\x01" + b"\x50\x07" + b"\x5a\x01x" + b"\x65abcd" + b"\x69abcdefgh"
    )  # 10 varint, 11 bytes, 12 and 13 fixed
    assert aesm.parse_request(b"\x7a" + bytes([len(inner)]) + inner) == aesm.InitQuote(None, want_key=True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "aesm-request"),
        (b"\x7a\x02\x18\x01\x7a\x02\x18\x01", "aesm-request"),
        (b"\x78\x01", "aesm-request"),
        (b"\x7a\x00", "aesm-field"),
        (b"\x7a\x04\x18\x01\x18\x01", "aesm-field"),
        (b"\x7a\x02\x18\x02", "aesm-field"),
        (b"\x7a\x03\x1a\x01x", "aesm-field"),
        (b"\x7a\x05\x1d\x01\0\0\0", "aesm-field"),
        (b"\x7a\x03\x18\x81\x00", "aesm-varint"),
        (b"\x7a\x0b\x18" + b"\xff" * 9 + b"\x7f", "aesm-varint"),
        (b"\x7a\x0b\x18" + b"\xff" * 10, "aesm-varint"),
        (b"\x7b\x7c", "aesm-wire-type"),
        (b"\x02\x00", "aesm-wire-type"),
        (b"\x7a\x7f\x18\x01", "aesm-truncated"),
        (b"\x9a\x06\x00", "aesm-unsupported"),
        (b"\xb2\x01\x06\x08\x80\x80\x80\x80\x10", "aesm-field"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, code: str) -> None:
    assert aesm.parse_request(b"\x7a\x02\x18\x01") == aesm.InitQuote(None, want_key=True)
    with pytest.raises(Malformed) as caught:
        aesm.parse_request(body)
    assert caught.value.code == code


def test_an_answer_that_nobody_knows_is_refused() -> None:
    with pytest.raises(Malformed, match="aesm-unsupported"):
        aesm.parse_answer(b"\x9a\x06\x02\x08\x00")


@pytest.mark.parametrize("legacy", Legacy)
def test_legacy_requests_are_known_whatever_they_hold(legacy: Legacy) -> None:
    assert aesm.parse_request(aesm.build_request(legacy)) is legacy
    assert aesm.parse_request(embed(legacy, b"anything")) is legacy


@pytest.mark.parametrize("size", [0, 16385, 2**32 - 1])
def test_a_frame_has_a_limit(size: int) -> None:
    assert aesm.frame_size(aesm.frame(b"abc"), aesm.REQUEST_LIMIT) == 3
    with pytest.raises(Malformed) as caught:
        aesm.frame_size(size.to_bytes(4, "little"), aesm.REQUEST_LIMIT)
    assert caught.value.code == "aesm-size"


def key_list(number: int = 1, version: int = 0, ids: int = 1) -> bytes:
    return bytes(2) + version.to_bytes(2, "little") + number.to_bytes(4, "little") + aesm.ECDSA_P256 * ids


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (key_list(0, ids=0), "aesm-key-list"),
        (key_list(11, ids=11), "aesm-key-list"),
        (key_list(version=1), "aesm-key-list"),
        (key_list(2), "aesm-truncated"),
        (key_list(ids=2), "aesm-trailing"),
    ],
)
def test_a_list_of_key_ids_has_what_it_says(data: bytes, code: str) -> None:
    assert aesm.parse_key_ids(key_list(10, ids=10)) == (aesm.ECDSA_P256,) * 10
    with pytest.raises(Malformed) as caught:
        aesm.parse_key_ids(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(15, -1), "protobuf-range"),
        (Answer(16, count=2**32), "protobuf-range"),
        (Answer(16, None), "protobuf-required"),  # type: ignore[arg-type]  # what the types forbid is refused, too
    ],
)
def test_what_does_not_fit_is_a_bug_of_ours(answer: Answer, code: str) -> None:
    with pytest.raises(Misused) as caught:
        aesm.build_answer(answer)
    assert caught.value.code == code
