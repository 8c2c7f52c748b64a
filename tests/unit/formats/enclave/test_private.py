from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.enclave import private
from kloister.formats.enclave.private import layer_key, layer_nonce, open_private_trees, seal_private_trees
from kloister.formats.enclave.tree import Entry, Kind, Tree

SECRET = bytes(range(32))
MODEL = Entry(b"/app/model", Kind.FILE, 0o644, 0, 0, 0, 3, bytes(32))
LINK = Entry(b"/app/now", Kind.SYMLINK, 0o777, 0, 0, 0, target=b"model")
TREES = (Tree.of([MODEL, LINK]), Tree.of([]), Tree.of([LINK]))
DIGEST = "sha256:" + "0" * 64


def test_every_blob_and_every_secret_has_its_own_key_and_nonce() -> None:
    other = "sha256:" + "1" * 64
    pairs = {
        (nonce := layer_nonce(secret, digest), layer_key(secret, nonce))
        for secret in (SECRET, bytes(32))
        for digest in (DIGEST, other)
    }
    assert len({nonce for nonce, _ in pairs}) == len({key for _, key in pairs}) == 4
    assert layer_nonce(SECRET, DIGEST) == layer_nonce(SECRET, DIGEST)
    assert [len(layer_nonce(SECRET, DIGEST)), len(layer_key(SECRET, bytes(16)))] == [16, 32]


def test_trees_come_back_and_repeat() -> None:
    sealed = seal_private_trees(SECRET, TREES)
    assert open_private_trees(SECRET, sealed, 3) == TREES
    assert sealed == seal_private_trees(SECRET, TREES)
    assert sealed[:12] != seal_private_trees(SECRET, TREES[:2])[:12]
    assert b"model" not in sealed


def test_another_secret_is_refused() -> None:
    sealed = seal_private_trees(SECRET, TREES)
    with pytest.raises(Unverified) as refused:
        open_private_trees(bytes(32), sealed, 3)
    assert refused.value.code == "private-tree"


def test_another_count_is_refused() -> None:
    sealed = seal_private_trees(SECRET, TREES)
    assert open_private_trees(SECRET, sealed, 3)
    with pytest.raises(Malformed) as refused:
        open_private_trees(SECRET, sealed, 2)
    assert refused.value.code == "private-tree"


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_flipped_byte_is_refused(offset: int, change: int) -> None:
    sealed = bytearray(seal_private_trees(SECRET, TREES))
    sealed[offset % len(sealed)] ^= change
    with pytest.raises(Unverified):
        open_private_trees(SECRET, bytes(sealed), 3)


@given(st.integers(0, 200))
def test_any_cut_is_refused(size: int) -> None:
    with pytest.raises(Unverified):
        open_private_trees(SECRET, seal_private_trees(SECRET, TREES)[:size], 3)


@pytest.mark.parametrize("plain", [b"\0", b"\0\0\0\x09kloister", b"\0\0\0\0"])
def test_damage_by_the_author_is_refused(plain: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "length_prefixed", lambda _: plain)
    sealed = seal_private_trees(SECRET, ())
    with pytest.raises(Malformed):
        open_private_trees(SECRET, sealed, 1)


def test_the_secret_has_32_bytes() -> None:
    with pytest.raises(Misused):
        layer_key(bytes(16), bytes(16))
