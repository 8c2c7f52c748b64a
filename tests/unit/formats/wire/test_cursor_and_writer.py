from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
from kloister.formats.wire import Cursor, Writer, length_prefixed


@given(st.integers(0, 2**64 - 1), st.binary(max_size=40), st.binary(max_size=40))
def test_what_the_writer_wrote_the_cursor_reads(number: int, fixed: bytes, rest: bytes) -> None:
    data = Writer().uint(number, 8).raw(fixed).zero(3).raw(rest).build()
    cursor = Cursor(data, "thing")
    assert cursor.uint(8, "number") == number
    assert cursor.take(len(fixed), "fixed") == fixed
    cursor.zero(3, "reserved")
    assert cursor.offset == 11 + len(fixed)
    assert cursor.rest() == rest
    cursor.finish()


@given(st.binary(max_size=64), st.integers(-3, 80))
def test_a_cursor_never_reads_past_the_end(data: bytes, size: int) -> None:
    if 0 <= size <= len(data):
        assert Cursor(data, "thing").take(size, "field") == data[:size]
        return
    with pytest.raises(Malformed, match="inside field") as refusal:
        Cursor(data, "thing").take(size, "field")
    assert refusal.value.code == "thing-truncated"


def test_reserved_bytes_and_trailing_bytes_have_their_codes() -> None:
    with pytest.raises(Malformed) as reserved:
        Cursor(b"\x00\x01", "thing").zero(2, "reserved")
    with pytest.raises(Malformed) as trailing:
        Cursor(b"\x00", "thing").finish()
    assert (reserved.value.code, trailing.value.code) == ("thing-reserved", "thing-trailing")


def test_a_value_that_does_not_fit_is_our_bug() -> None:
    with pytest.raises(Misused, match="2 bytes"):
        Writer().uint(65536, 2)
    with pytest.raises(Misused, match="given 3"):
        Writer().raw(b"abc", 4)


@given(st.lists(st.binary(max_size=8), max_size=5), st.lists(st.binary(max_size=8), max_size=5))
def test_no_two_lists_have_one_length_prefixed_form(one: list[bytes], other: list[bytes]) -> None:
    assert (length_prefixed(one) == length_prefixed(other)) == (one == other)
