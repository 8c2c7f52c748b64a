from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister import entropy
from kloister.errors import Misconfigured
from kloister.services.broker.vault import Vault

NAME = ("clinic", "inference", "db", "1")
VAULT = Vault(bytes(32), entropy.draw)


@given(st.binary(max_size=100))
def test_what_is_locked_is_unlocked(plaintext: bytes) -> None:
    wrapped, ciphertext = VAULT.lock(plaintext, NAME)
    assert VAULT.unlock(wrapped, ciphertext, NAME) == plaintext


@pytest.mark.parametrize("place", [("other", *NAME[1:]), (*NAME[:3], "2"), ("clinicinference", "", "db", "1")])
def test_a_record_in_another_place_is_refused(place: tuple[str, ...]) -> None:
    wrapped, ciphertext = VAULT.lock(b"value", NAME)
    with pytest.raises(Misconfigured) as caught:
        VAULT.unlock(wrapped, ciphertext, place)
    assert caught.value.code == "secret-damaged"
    assert VAULT.unlock(wrapped, ciphertext, NAME) == b"value"


def test_every_byte_is_authenticated() -> None:
    wrapped, ciphertext = VAULT.lock(b"value", NAME)
    for index in range(len(wrapped)):
        flipped = wrapped[:index] + bytes([wrapped[index] ^ 1]) + wrapped[index + 1 :]
        with pytest.raises(Misconfigured):
            VAULT.unlock(flipped, ciphertext, NAME)
    for index in range(len(ciphertext)):
        flipped = ciphertext[:index] + bytes([ciphertext[index] ^ 1]) + ciphertext[index + 1 :]
        with pytest.raises(Misconfigured):
            VAULT.unlock(wrapped, flipped, NAME)
        with pytest.raises(Misconfigured):
            VAULT.unlock(wrapped, ciphertext[:index], NAME)


def test_another_root_key_opens_nothing() -> None:
    wrapped, ciphertext = VAULT.lock(b"value", NAME)
    with pytest.raises(Misconfigured):
        Vault(bytes([1]) * 32, entropy.draw).unlock(wrapped, ciphertext, NAME)


def test_two_records_of_one_value_differ() -> None:
    assert VAULT.lock(b"value", NAME) != VAULT.lock(b"value", NAME)
