from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.oci.limits import DEFAULT, Limits
from kloister.images.layers.stream import CHUNK, checked, file_chunks, gunzip
from tests.support.images import digest


def unpack(stored: bytes, step: int) -> bytes:
    return b"".join(gunzip((stored[at : at + step] for at in range(0, len(stored), step)), DEFAULT))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 200))
def test_several_members_in_pieces_of_any_size(members: list[bytes], step: int) -> None:
    stored = b"".join(map(gzip.compress, members))
    assert unpack(stored, step) == b"".join(members)


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_output_that_fills_whole_chunks(size: int) -> None:
    for step in (1 << 20, 997, 7):
        assert unpack(gzip.compress(bytes(size), 9), step) == bytes(size)


def test_damaged_members_are_refused() -> None:
    stored = gzip.compress(b"content" * 99)
    assert unpack(stored, 50) == b"content" * 99
    for damaged in (stored[:-1], stored + b"garbage", b"", b"x" + stored):
        with pytest.raises(Malformed) as caught:
            unpack(damaged, 50)
        assert caught.value.code == "layer-gzip"


def test_no_chunk_is_larger_than_the_unit_and_bombs_are_found() -> None:
    stored = gzip.compress(bytes(64 * CHUNK), 9)
    assert max(map(len, gunzip([stored], DEFAULT))) == CHUNK
    with pytest.raises(Malformed) as caught:
        list(gunzip([stored], Limits(ratio=256, ratio_from=CHUNK)))
    assert caught.value.code == "layer-bomb"


def test_a_blob_is_checked_while_it_passes() -> None:
    assert list(checked([b"ab", b"c"], digest(b"abc"), "blob", 3)) == [b"ab", b"c"]
    for size, content, code in ((3, b"abd", "blob-digest"), (2, b"abc", "blob-size"), (4, b"abc", "blob-size")):
        with pytest.raises(Malformed) as caught:
            list(checked([content], digest(b"abc"), "blob", size))
        assert caught.value.code == code


def test_a_file_is_opened_late_and_closed_early(tmp_path: Path) -> None:
    chunks = file_chunks(tmp_path / "later")
    (tmp_path / "later").write_bytes(b"x" * (CHUNK + 1))
    assert len(next(iter(chunks))) == CHUNK
    assert list(chunks) == [b"x"]
