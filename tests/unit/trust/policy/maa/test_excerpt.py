from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.trust.policy.maa import excerpt
from kloister.trust.policy.maa.place import Place


@pytest.mark.parametrize(
    ("text", "place", "shown"),
    [
        ("ab\ncd", Place(2, 2), "cd\n ^"),
        ("ab\ncd", Place(1, 3), "ab\n  ^"),
        ("ab\r\ncd", Place(1, 1), "ab\n^"),
        ("\tab", Place(1, 2), "\tab\n\t^"),
        ("a\x1b[2Jb", Place(1, 6), "a?[2Jb\n     ^"),
        ("", Place(1, 1), "\n^"),
        ("a\n", Place(2, 1), "\n^"),
    ],
)
def test_the_line_and_a_caret(text: str, place: Place, shown: str) -> None:
    assert excerpt(text, place) == shown


def test_of_a_long_line_a_part_is_shown() -> None:
    text = "x" * 200 + "!" + "y" * 200
    line, caret = excerpt(text, Place(1, 201)).split("\n")
    assert len(line) == 100
    assert line[len(caret) - 1] == "!"
    line, caret = excerpt(text, Place(1, 402)).split("\n")
    assert (line, len(caret)) == ("y" * 100, 101)


@given(st.text(), st.data())
def test_the_caret_is_below_the_place(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    number = data.draw(st.integers(1, len(lines)))
    column = data.draw(st.integers(1, len(lines[number - 1]) + 1))
    line, caret = excerpt(text, Place(number, column)).split("\n")
    seen = lines[number - 1][column - 1 : column]
    if seen.strip() and seen.isprintable():
        assert line[len(caret) - 1] == seen
