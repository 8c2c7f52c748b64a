from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.enclave.content import MAX_CONTENT, ContentEnclave


@given(st.binary(max_size=9000), st.binary(max_size=9000))
def test_another_content_is_another_enclave(first: bytes, second: bytes) -> None:
    same = ContentEnclave.of(first).mrenclave() == ContentEnclave.of(second).mrenclave()
    assert same == (first == second)


@given(st.binary(max_size=30_000))
def test_pages_follow_one_another_and_fit(content: bytes) -> None:
    enclave = ContentEnclave.of(content)
    assert enclave.size & (enclave.size - 1) == 0
    assert enclave.runs[0].offset == 0
    assert all(low.end == high.offset for low, high in pairwise(enclave.runs))
    assert enclave.size // 2 < enclave.runs[-1].end <= enclave.size


def test_trailing_zeros_and_the_empty_content_count() -> None:
    assert len({ContentEnclave.of(content).mrenclave() for content in (b"", b"\0", b"a", b"a\0")}) == 4


def test_too_much_content_is_malformed() -> None:
    with pytest.raises(Malformed) as refused:
        ContentEnclave.of(bytes(MAX_CONTENT + 1))
    assert refused.value.code == "content-size"
