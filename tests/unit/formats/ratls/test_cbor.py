from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.ratls import cbor
from tests.support.evidence import code_of

items = st.recursive(
    st.integers(0, 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.builds(cbor.Tagged, st.integers(0, 2**64 - 1), inner)
    ),
    max_leaves=6,
)


def shallow(item: cbor.Item, depth: int = 0) -> bool:
    inner: list[cbor.Item] = []
    if isinstance(item, list):
        inner = item
    elif isinstance(item, dict):
        inner = list(item.values())
    elif isinstance(item, cbor.Tagged):
        inner = [item.item]
    return depth <= cbor.MAX_DEPTH and all(shallow(each, depth + 1) for each in inner)


@given(items.filter(shallow))
def test_what_is_encoded_is_decoded(item: cbor.Item) -> None:
    assert cbor.decode(cbor.encode(item)) == item


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_to_what_encodes_them_or_malformed(data: bytes) -> None:
    try:
        item = cbor.decode(data)
    except Malformed as error:
        assert error.code == "ratls-cbor"  # noqa: PT017 -- either outcome is right
        return
    assert cbor.encode(item) == data


@given(items.filter(shallow), st.data())
def test_a_cut_is_malformed(item: cbor.Item, data: st.DataObject) -> None:
    encoded = cbor.encode(item)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    assert code_of(lambda: cbor.decode(encoded[:cut])) == "ratls-cbor"


@pytest.mark.parametrize(
    ("data", "item"),  # RFC 8949, appendix A
    [
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("4401020304", b"\1\2\3\4"),
        ("6449455446", "IETF"),
        ("83010203", [1, 2, 3]),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("c11a514b67b0", cbor.Tagged(1, 1363896240)),
    ],
)
def test_the_examples_of_the_rfc(data: str, item: cbor.Item) -> None:
    assert cbor.decode(bytes.fromhex(data)) == item
    assert cbor.encode(item) == bytes.fromhex(data)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "1817",  # 23 in two bytes
        "190018",  # 24 in three
        "5f42010243030405ff",  # indefinite length
        "9fff",
        "20",  # negative
        "f4",  # false
        "fa47c35000",  # float
        "a10102",  # a key that is a number
        "a2616101616102",  # a key twice
        "61ff",  # not UTF-8
        "0000",  # two items
        "81" * 10 + "00",  # deep
        "9841" + "00" * 65,  # long
    ],
)
def test_everything_else_is_refused(data: str) -> None:
    assert code_of(lambda: cbor.decode(bytes.fromhex(data))) == "ratls-cbor"


def test_numbers_above_64_bits_are_never_written() -> None:
    assert code_of(lambda: cbor.encode(2**64)) == "ratls-cbor"
