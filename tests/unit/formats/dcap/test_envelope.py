from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.dcap.envelope import ENCLAVE_IDENTITY, TCB_INFO, Envelope

SIGNATURE = "0a" * 64
GOOD = b'{"tcbInfo":{"id":"SGX"},"signature":"' + SIGNATURE.encode() + b'"}'
documents = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())).map(json.dumps)
signatures = st.binary(min_size=64, max_size=64).map(bytes.hex)


@given(st.sampled_from([TCB_INFO, ENCLAVE_IDENTITY]), documents, signatures)
def test_the_signed_text_comes_back(name: str, text: str, signature: str) -> None:
    envelope = Envelope(name, text, signature)
    assert Envelope.parse(envelope.build(), name) == envelope


@given(st.integers(0, len(GOOD) - 1))
def test_a_cut_answer_is_malformed(size: int) -> None:
    with pytest.raises(Malformed) as caught:
        Envelope.parse(GOOD[:size], TCB_INFO)
    assert caught.value.code == "envelope-json"


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_answer_is_malformed_or_another_one(at: int, flip: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= flip
    try:
        found = Envelope.parse(bytes(data), TCB_INFO)
    except Malformed:
        return
    assert found != Envelope.parse(GOOD, TCB_INFO) or bytes(data).lower() == GOOD


def test_an_answer_has_at_most_1_mib() -> None:
    assert Envelope.parse(GOOD.ljust(1 << 20), TCB_INFO) == Envelope.parse(GOOD, TCB_INFO)


def test_white_space_around_is_left_out_and_inside_is_kept() -> None:
    text = '{ "id" :\n"SGX" }'
    data = f' {{ "tcbInfo"\r:\t{text} , "signature" : "{SIGNATURE}" }} \n'.encode()
    assert Envelope.parse(data, TCB_INFO) == Envelope(TCB_INFO, text, SIGNATURE)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GOOD.replace(b"tcbInfo", b"enclaveIdentity"), "envelope-json"),
        (GOOD[:-1] + b',"more":1}', "envelope-json"),
        (GOOD.replace(b'{"id":"SGX"}', b"[]"), "envelope-json"),
        (GOOD.replace(b"0a", b"a", 1), "envelope-json"),
        (b'{"tcbInfo":' + b"[" * 100_000, "envelope-json"),
        (GOOD.replace(b"SGX", b"\xff"), "envelope-json"),
        (GOOD.replace(b":{", b":\f{"), "envelope-json"),  # white space elsewhere, but not in JSON
        (b"\x1c" + GOOD, "envelope-json"),
        (GOOD + b"\v", "envelope-json"),
        (GOOD.replace(b"0a", b"", 1), "envelope-json"),
        (GOOD.replace(b"0a", b"0a0a", 1), "envelope-json"),
        (GOOD.ljust((1 << 20) + 1), "envelope-size"),
    ],
)
def test_answers_that_are_none(data: bytes, code: str) -> None:
    assert Envelope.parse(GOOD, TCB_INFO).text == '{"id":"SGX"}'
    with pytest.raises(Malformed) as caught:
        Envelope.parse(data, TCB_INFO)
    assert caught.value.code == code
