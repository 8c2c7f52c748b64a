from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misconfigured, Unverified
from kloister.formats.sgx import Attributes, Sigstruct
from tests.support.enclaves import author_key, signer

UNSIGNED = Sigstruct(
    enclavehash=bytes(range(32)),
    attributes=Attributes(4, 3),
    attribute_mask=Attributes((1 << 64) - 1, (1 << 64) - 1),
    date=dt.date(2026, 11, 22),
    isvprodid=7,
    isvsvn=9,
)


def signed() -> Sigstruct:
    return UNSIGNED.sign(author_key())


def test_a_signed_structure_verifies_and_keeps_every_field() -> None:
    structure = signed()
    structure.verify()
    assert len(structure.build()) == Sigstruct.SIZE == 1808
    assert Sigstruct.parse(structure.build()) == structure
    assert structure.signed_bytes() == UNSIGNED.signed_bytes()
    assert structure.mrsigner == hashlib.sha256(structure.build()[128:512]).digest()


def test_signing_is_deterministic_and_an_external_signer_gives_the_same() -> None:
    assert signed() == signed() == UNSIGNED.sign_with(signer())


def test_the_date_is_bcd_little_endian_and_may_be_absent() -> None:
    assert UNSIGNED.build()[20:24] == bytes.fromhex("22112620")
    assert replace(UNSIGNED, date=None).build()[20:24] == bytes(4)
    assert Sigstruct.parse(replace(UNSIGNED, date=None).build()).date is None


@given(st.dates(), st.integers(0, 0xFFFF), st.binary(min_size=16, max_size=16), st.integers(0, 0xFFFFFFFF))
def test_what_was_built_parses_to_the_same(date: dt.date, number: int, identifier: bytes, word: int) -> None:
    structure = replace(
        UNSIGNED, date=date, isvprodid=number, isvfamilyid=identifier, isvextprodid=identifier[::-1], miscselect=word
    )
    assert Sigstruct.parse(structure.build()) == structure


@given(at=st.integers(0, 1807), bit=st.integers(0, 7))
def test_every_flipped_bit_is_malformed_or_unverified(at: int, bit: int) -> None:
    data = bytearray(signed().build())
    data[at] ^= 1 << bit
    with pytest.raises((Malformed, Unverified)):
        Sigstruct.parse(bytes(data)).verify()


@given(st.integers(0, 1807))
def test_every_cut_is_malformed(size: int) -> None:
    with pytest.raises(Malformed):
        Sigstruct.parse(signed().build()[:size])


@given(st.binary(max_size=2000))
def test_noise_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Sigstruct.parse(data)


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (0, "sigstruct-header"),
        (15, "sigstruct-header"),
        (24, "sigstruct-header2"),
        (44, "sigstruct-reserved"),
        (512, "sigstruct-exponent"),
        (910, "sigstruct-reserved"),
        (992, "sigstruct-reserved"),
        (1028, "sigstruct-reserved"),
    ],
)
def test_constants_and_reserved_bytes(at: int, code: str) -> None:
    data = bytearray(signed().build())
    Sigstruct.parse(bytes(data))
    data[at] ^= 0x10
    with pytest.raises(Malformed) as refused:
        Sigstruct.parse(bytes(data))
    assert refused.value.code == code


@pytest.mark.parametrize("date", ["00000001", "20261301", "20260230", "2026110a"])
def test_a_date_that_is_none_is_malformed(date: str) -> None:
    data = bytearray(signed().build())
    data[20:24] = bytes.fromhex(date)[::-1]
    with pytest.raises(Malformed) as refused:
        Sigstruct.parse(bytes(data))
    assert refused.value.code == "sigstruct-date"


@pytest.mark.parametrize("field", ["signature", "q1", "q2", "modulus"])
def test_a_number_of_another_key_is_unverified(field: str) -> None:
    structure = signed()
    structure.verify()
    other = getattr(UNSIGNED.sign(author_key(1)), field)
    with pytest.raises(Unverified) as refused:
        replace(structure, **{field: other}).verify()
    assert refused.value.code == "sigstruct-signature"


def test_a_signature_above_the_modulus_is_unverified() -> None:
    structure = signed()
    with pytest.raises(Unverified):
        replace(structure, signature=b"\xff" * 384).verify()


@pytest.mark.parametrize(("exponent", "bits"), [(65537, 3072), (3, 2048)])
def test_any_other_key_is_the_operators_mistake(exponent: int, bits: int) -> None:
    key = rsa.generate_private_key(public_exponent=exponent, key_size=bits)
    with pytest.raises(Misconfigured) as refused:
        UNSIGNED.sign(key)
    assert refused.value.code == "signing-key"
    assert str(bits) in refused.value.text


def test_an_external_signer_that_lies_is_found() -> None:
    modulus = author_key().public_key().public_numbers().n
    for signature in (1, modulus, -1):
        with pytest.raises(Unverified) as refused:
            UNSIGNED.sign_with(lambda _, signature=signature: (3, modulus, signature))  # type: ignore[misc]  # bound per turn
        assert refused.value.code == "sigstruct-signature"
