from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kloister.formats.pki import check_signature, p256_key, raw_signature, sign_raw
from kloister.simulator.pki import derive_key
from tests.support.evidence import SEED, code_of, point

KEY = derive_key(SEED, "test")


@given(st.binary(max_size=100))
def test_what_was_signed_verifies_and_is_the_same_again(data: bytes) -> None:
    raw = sign_raw(KEY, data)
    assert raw == sign_raw(KEY, data)
    check_signature(p256_key(point(KEY), "key"), raw_signature(raw), data, "some-code", "data")


@given(st.integers(0, 511))
def test_a_flipped_bit_does_not_verify(bit: int) -> None:
    raw = bytearray(sign_raw(KEY, b"data"))
    raw[bit // 8] ^= 1 << bit % 8
    signature = raw_signature(bytes(raw))
    assert code_of(lambda: check_signature(KEY.public_key(), signature, b"data", "some-code", "x")) == "some-code"


def test_points_must_be_on_the_curve() -> None:
    off = bytearray(point(KEY))
    off[63] ^= 1
    assert code_of(lambda: p256_key(bytes(off), "attestation-key")) == "attestation-key-point"
    assert code_of(lambda: p256_key(bytes(64), "attestation-key")) == "attestation-key-point"
    assert code_of(lambda: p256_key(point(KEY)[:-1], "attestation-key")) == "attestation-key-point"


def test_signatures_have_64_bytes() -> None:
    assert code_of(lambda: raw_signature(bytes(63))) == "signature-size"
    assert (
        code_of(lambda: check_signature(KEY.public_key(), raw_signature(bytes(64)), b"", "some-code", "x"))
        == "some-code"
    )
