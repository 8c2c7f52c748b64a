from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
from kloister.formats.sgx import KeyName
from kloister.simulator.fuses import Fuses


@given(st.binary(min_size=48, max_size=48))
def test_what_was_built_parses_to_the_same(entropy: bytes) -> None:
    fuses = Fuses.create(entropy)
    assert len(fuses.build()) == Fuses.SIZE
    assert Fuses.parse(fuses.build()) == fuses


@given(at=st.integers(0, Fuses.SIZE - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_malformed(at: int, bit: int) -> None:
    data = bytearray(Fuses.create(bytes(range(48))).build())
    data[at] ^= 1 << bit
    with pytest.raises(Malformed):
        Fuses.parse(bytes(data))


@given(st.integers(0, Fuses.SIZE - 1))
def test_any_other_size_is_malformed(size: int) -> None:
    data = Fuses.create(bytes(48)).build()
    for wrong in (data[:size], data + b"\0"):
        with pytest.raises(Malformed):
            Fuses.parse(wrong)


def test_other_entropy_and_another_name_give_another_root() -> None:
    first, second = Fuses.create(bytes(48)), Fuses.create(bytes(47) + b"\1")
    assert first != second
    assert len({first.key_root(name) for name in KeyName}) == len(KeyName)


def test_nothing_of_them_is_shown() -> None:
    shown = repr(Fuses.create(bytes(range(48))))
    assert shown == "Fuses()"


def test_too_little_entropy_is_a_bug() -> None:
    with pytest.raises(Misused):
        Fuses.create(bytes(47))
