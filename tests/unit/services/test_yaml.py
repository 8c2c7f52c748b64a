from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.services.yaml import MAX_TEXT, load
from tests.support.broker import DOCUMENT
from tests.support.evidence import code_of


def refused(text: str) -> Malformed:
    with pytest.raises(Malformed) as caught:
        load(text.encode("utf-8", "surrogatepass"), "p.yaml")
    return caught.value


def test_plain_values() -> None:
    text = b"a: 1\nb: [x, \"yes\", true, null, -3]\nc:\n  d: '012'\n  e: |\n    text\n"
    assert load(text, "p") == {"a": 1, "b": ["x", "yes", True, None, -3], "c": {"d": "012", "e": "text\n"}}
    assert load(b"%YAML 1.2\n---\na: b\n", "p") == {"a": "b"}


def test_json_is_yaml() -> None:
    assert load(json.dumps(DOCUMENT).encode(), "p") == DOCUMENT


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("a: 1\na: 2", "yaml-duplicate-key", "line 2, column 1"),
        ("a: 1\n'a': 2", "yaml-duplicate-key", "line 2, column 1"),
        ("a: &x 1", "yaml-alias", "line 1, column 4"),
        ("a: *x", "yaml-alias", "line 1, column 4"),
        ("a: !!str x", "yaml-tag", "line 1, column 4"),
        ("a: !x {}", "yaml-tag", "line 1, column 4"),
        ("a: !!python/object:os.system x", "yaml-tag", "line 1, column 4"),
        ("--- 1\n--- 2", "yaml-syntax", "line 2, column 1"),
        ("%YAML 1.1\n---\na: b", "yaml-syntax", "line 2, column 1"),
        ("a: [", "yaml-syntax", "line 1, column 5"),
        ("a:\n\tb: 1", "yaml-syntax", "line 2, column 1"),
        ("1: x", "yaml-syntax", "line 1, column 1"),
        ("[a]: x", "yaml-syntax", "line 1, column 1"),
        ("[" * 50 + "]" * 50, "yaml-syntax", "more than 32 nested"),
        ("[" * 5000, "yaml-syntax", ""),
        ("", "yaml-syntax", "empty"),
        ("a: \x01", "yaml-syntax", ""),
        ("a: \ud800", "yaml-encoding", "byte 3"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_place(text: str, code: str, where: str) -> None:
    error = refused(text)
    assert error.code == code
    assert where in error.text


AMBIGUOUS = [
    *("yes", "No", "on", "OFF", "y", "N", "True", "FALSE", "Null", "~", "012", "0o17", "0x1F", "0b1", "1_000", "1.5"),
    *("1e3", "-0", "+1", ".inf", "-.INF", ".nan", "12:30", "12:30:45", "2027-01-31", "2027-1-3", "<<", "=", "1.2.3"),
    *("99999999999999999999", "2001-12-14t21:59:43.10-05:00", "12e45"),
]


@pytest.mark.parametrize("scalar", AMBIGUOUS)
def test_ambiguous_scalars_need_quotes(scalar: str) -> None:
    error = refused(f"a:\n  - {scalar}")
    assert error.code == "yaml-ambiguous"
    assert "line 2, column 5" in error.text
    assert load(f'a: "{scalar}"'.encode(), "p") == {"a": scalar}


def test_keys_are_scalars_too() -> None:
    assert refused("on: x").code == "yaml-ambiguous"


def test_the_size_is_limited() -> None:
    with pytest.raises(Malformed) as caught:
        load(b" " * (MAX_TEXT + 1), "p")
    assert caught.value.code == "yaml-size"


TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_what_json_writes_is_read_back(value: Any) -> None:
    assert load(json.dumps(value).encode(), "p") == value


@given(st.text("ab:-[]{}'\"&*!|>#?,% \n\t01", max_size=30))
def test_no_text_gives_another_error(text: str) -> None:
    assert code_of(lambda: load(text.encode(), "p")).startswith(("yaml-", "accepted"))
