from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Misused
from kloister.formats.pki import der
from tests.support.evidence import code_of

contents = st.binary(max_size=700)
elements = st.lists(st.builds(der.Element, st.integers(0, 255), contents), max_size=4).map(tuple)


@given(elements)
def test_split_reads_what_encode_wrote(wanted: tuple[der.Element, ...]) -> None:
    data = b"".join(der.encode(each.tag, each.content) for each in wanted)
    assert der.split(data, "thing") == wanted


@given(st.integers(0, 2**63 - 1))
def test_integers_return(value: int) -> None:
    (element,) = der.split(der.encode_unsigned(der.INTEGER, value), "thing")
    assert der.unsigned(element, der.INTEGER, "thing") == value


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    code = code_of(lambda: der.split(data, "thing"))
    if code == "accepted":
        found = der.split(data, "thing")
        assert b"".join(der.encode(each.tag, each.content) for each in found) == data
    else:
        assert code == "thing-der"


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x00\x01", b"\x01" * 9])
def test_integers_must_be_shortest_and_not_negative(content: bytes) -> None:
    assert code_of(lambda: der.unsigned(der.Element(der.INTEGER, content), der.INTEGER, "thing")) == "thing-der"


@pytest.mark.parametrize(
    "data", [b"\x30", b"\x30\x80", b"\x30\x81\x01x", b"\x30\x83\0\0\0", b"\x30\x82\0\x80", b"\x30\x05ab"]
)
def test_lengths_must_be_definite_shortest_and_true(data: bytes) -> None:
    assert code_of(lambda: der.split(data, "thing")) == "thing-der"


def test_booleans_are_00_or_ff() -> None:
    assert der.boolean(der.split(der.encode_boolean(True), "thing")[0], "thing") is True
    assert der.boolean(der.split(der.encode_boolean(False), "thing")[0], "thing") is False
    assert code_of(lambda: der.boolean(der.Element(der.BOOLEAN, b"\x01"), "thing")) == "thing-der"


def test_one_element_of_the_right_tag() -> None:
    assert der.single(der.encode(der.SEQUENCE, b"x"), der.SEQUENCE, "thing") == b"x"
    assert code_of(lambda: der.single(der.encode(der.INTEGER, b"x"), der.SEQUENCE, "thing")) == "thing-der"
    assert code_of(lambda: der.single(b"", der.SEQUENCE, "thing")) == "thing-der"


def test_no_huge_element_is_written() -> None:
    with pytest.raises(Misused):
        der.encode(der.OCTET_STRING, bytes(1 << 16))
