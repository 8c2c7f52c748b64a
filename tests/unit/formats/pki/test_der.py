from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
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


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "3000"), (0x7F, "307f"), (0x80, "308180"), (0xFF, "3081ff"), (0x100, "30820100"), (0xFFFF, "3082ffff"),
        (0x10000, "3083010000"), (0xFFFFFF, "3083ffffff"),
    ],
)  # fmt: skip
def test_a_length_has_one_form(size: int, header: str) -> None:
    written = bytes.fromhex(header) + bytes(size)
    assert der.split(written, "thing") == (der.Element(der.SEQUENCE, bytes(size)),)
    if size <= 0xFFFF:
        assert der.encode(der.SEQUENCE, bytes(size)) == written


def test_an_element_of_16_mib_is_not_read() -> None:
    assert code_of(lambda: der.split(b"\x30\x84\x01\0\0\0" + bytes(1 << 24), "thing")) == "thing-der"


@pytest.mark.parametrize("header", ["30817f", "30820080", "3082007f", "3083000100"])
def test_a_length_in_a_longer_form_is_malformed(header: str) -> None:
    raw = bytes.fromhex(header)
    assert code_of(lambda: der.split(raw + bytes(int.from_bytes(raw[2:], "big")), "thing")) == "thing-der"


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (0, "00"), (1, "01"), (0x7F, "7f"), (0x80, "0080"), (0xFF, "00ff"), (0x100, "0100"), (0x7FFF, "7fff"),
        (0x8000, "008000"), (2**63 - 1, "7fffffffffffffff"),
    ],
)  # fmt: skip
def test_an_integer_has_one_form(value: int, content: str) -> None:
    raw = bytes.fromhex(content)
    assert der.encode_unsigned(der.ENUMERATED, value) == bytes([der.ENUMERATED, len(raw)]) + raw
    assert der.unsigned(der.Element(der.ENUMERATED, raw), der.ENUMERATED, "thing") == value


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    code = code_of(lambda: der.split(data, "thing"))
    if code == "accepted":
        found = der.split(data, "thing")
        assert b"".join(der.encode(each.tag, each.content) for each in found) == data
    else:
        assert code == "thing-der"


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x00\x00", b"\x00\x7f", b"\x01" * 9])
def test_integers_must_be_shortest_and_not_negative(content: bytes) -> None:
    assert code_of(lambda: der.unsigned(der.Element(der.INTEGER, content), der.INTEGER, "thing")) == "thing-der"


@pytest.mark.parametrize(
    "data",
    [
        b"\x30",
        b"\x30\0\x30",
        b"\x30\x80",
        b"\x30\x80" + bytes(128),
        b"\x30\x81\x01x",
        b"\x30\x83\0\0\0",
        b"\x30\x82\0\x80",
        b"\x30\x82\x80",
        b"\x30\x05ab",
    ],
)
def test_lengths_must_be_definite_shortest_and_true(data: bytes) -> None:
    assert code_of(lambda: der.split(data, "thing")) == "thing-der"


def test_what_is_missing_is_counted() -> None:
    with pytest.raises(Malformed, match="an element of 5 bytes where 2 are left"):
        der.split(b"\x30\0\x30\x05ab", "thing")


def test_booleans_are_00_or_ff() -> None:
    assert der.boolean(der.split(der.encode_boolean(True), "thing")[0], "thing") is True
    assert der.boolean(der.split(der.encode_boolean(False), "thing")[0], "thing") is False
    assert code_of(lambda: der.boolean(der.Element(der.BOOLEAN, b"\x01"), "thing")) == "thing-der"


def test_one_element_of_the_right_tag() -> None:
    assert der.single(der.encode(der.SEQUENCE, b"x"), der.SEQUENCE, "thing") == b"x"
    assert code_of(lambda: der.single(der.encode(der.INTEGER, b"x"), der.SEQUENCE, "thing")) == "thing-der"
    assert code_of(lambda: der.single(b"", der.SEQUENCE, "thing")) == "thing-der"


def test_no_huge_element_is_written() -> None:
    with pytest.raises(Misused, match=r"\[der-length\]"):
        der.encode(der.OCTET_STRING, bytes(1 << 16))


def test_the_tags_are_those_of_x_690() -> None:
    """A sequence of TRUE, 5, an empty OCTET STRING, the object identifier 2.5.4.3 and the enumerated 2."""
    inside = der.split(der.single(bytes.fromhex("30100101ff020105040006035504030a0102"), der.SEQUENCE, "x"), "x")
    tags = [der.BOOLEAN, der.INTEGER, der.OCTET_STRING, der.OBJECT_IDENTIFIER, der.ENUMERATED]
    assert [each.tag for each in inside] == tags


def test_bits_are_whole_bytes_at_the_end() -> None:
    assert der.ends_with_bits(bytes.fromhex("0304001234"), b"\x12\x34")
    assert not der.ends_with_bits(bytes.fromhex("0304041230"), b"\x12\x30")
    assert not der.ends_with_bits(bytes.fromhex("030500123400"), b"\x12\x34")
