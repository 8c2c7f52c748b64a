from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
from kloister.formats.wire import b64url, canonical_json, load_json, unb64url, unhex

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=70))
def test_base64url_comes_back(data: bytes) -> None:
    assert unb64url(b64url(data), "field") == data


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A+/A", "AAA\n", "é", "AAAAA"])
def test_base64url_is_strict(text: str) -> None:
    with pytest.raises(Malformed) as refusal:
        unb64url(text, "field")
    assert refusal.value.code == "field-base64url"


@given(_JSON)
def test_canonical_json_is_json_and_stable(value: Any) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data
    assert load_json(data, "document", 1 << 20) == value


def test_canonical_json_sorts_by_utf16() -> None:
    # RFC 8785, section 3.2.3: the example's order of keys
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical_json(dict.fromkeys(keys, 0)))) == expected


@pytest.mark.parametrize("value", [1.5, 2**53, {"a": object()}, b"bytes"])
def test_canonical_json_refuses_what_it_cannot_hold(value: Any) -> None:
    with pytest.raises(Misused):
        canonical_json(value)


@pytest.mark.parametrize("data", [b'{"a":1,"a":2}', b"{", b"NaN", b"\xff", b"[" * 100000, b""])
def test_json_from_outside_is_strict(data: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        load_json(data, "document", 1 << 20)
    assert refusal.value.code == "document-json"


def test_json_from_outside_is_limited() -> None:
    assert load_json(b"[1]", "document", 3) == [1]
    with pytest.raises(Malformed) as refusal:
        load_json(b"[10]", "document", 3)
    assert refusal.value.code == "document-size"


@pytest.mark.parametrize(("text", "size"), [("0", None), ("zz", None), ("00", 2), ("é", None)])
def test_hexadecimal_is_strict(text: str, size: int | None) -> None:
    assert unhex("00fF", "field", 2) == b"\x00\xff"
    with pytest.raises(Malformed) as refusal:
        unhex(text, "field", size)
    assert refusal.value.code == "field-hex"
