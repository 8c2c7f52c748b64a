from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kloister.images.layers.reading import ChunkSource


@given(st.lists(st.binary(max_size=5), max_size=8), st.lists(st.integers(0, 9), max_size=8))
def test_chunks_read_as_one_stream_even_where_some_are_empty(chunks: list[bytes], sizes: list[int]) -> None:
    whole, source, at = b"".join(chunks), ChunkSource(chunks), 0
    for size in sizes:
        assert source.read(size) == whole[at : at + size]
        at += min(size, len(whole) - at)


def test_an_empty_chunk_is_not_the_end() -> None:
    source = ChunkSource([b"ab", b"", b"cd"])
    source.skip(2)
    assert source.read(9) == b"cd"
