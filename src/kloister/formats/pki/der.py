"""DER (ITU-T X.690): just enough to read and write the extension in Intel's PCK certificates."""

from __future__ import annotations

from typing import NamedTuple

from kloister.errors import Malformed, Misused

BOOLEAN = 0x01
INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
SEQUENCE = 0x30

_MAX_LENGTH_BYTES = 3  # lengths up to 16 MiB are read: the longest element is a revocation list
_MAX_WRITTEN_BYTES = 2  # lengths up to 65535 bytes are written: no certificate of a quote holds a longer element
_SHORT = 0x80  # X.690, 8.1.3.4: below this, one byte is the length
_BOOLEANS = {b"\x00": False, b"\xff": True}  # X.690, 11.1
_MAX_INTEGER_BYTES = 8


class Element(NamedTuple):
    """One tag-length-value: the identifier byte and the content."""

    tag: int
    content: bytes


def split(data: bytes, what: str) -> tuple[Element, ...]:
    """All elements that stand one after the other in `data`, which they fill exactly.

    Raises:
        Malformed: `{what}-der`.
    """
    found = []
    at = 0
    while at < len(data):
        start, end = content(data, at, what)
        found.append(Element(data[at], data[start:end]))
        at = end
    return tuple(found)


def single(data: bytes, tag: int, what: str) -> bytes:
    """The content of the one element of that tag which fills `data`."""
    return expect(one(split(data, what), what), tag, what)


def one(elements: tuple[Element, ...], what: str) -> Element:
    """The only element of a list of one."""
    if len(elements) != 1:
        raise _malformed(what, f"{len(elements)} elements where one belongs")
    return elements[0]


def expect(element: Element, tag: int, what: str) -> bytes:
    """The content of an element that must have this tag."""
    if element.tag != tag:
        raise _malformed(what, f"tag {element.tag:#04x} where {tag:#04x} belongs")
    return element.content


def unsigned(element: Element, tag: int, what: str) -> int:
    """A non-negative INTEGER or ENUMERATED in its shortest form, at most 8 bytes."""
    content = expect(element, tag, what)
    spare = len(content) > 1 and content[0] == 0 and content[1] < _SHORT
    if not content or len(content) > _MAX_INTEGER_BYTES or content[0] >= _SHORT or spare:
        raise _malformed(what, "an integer that is negative, too long or not in its shortest form")
    return int.from_bytes(content, "big")


def boolean(element: Element, what: str) -> bool:
    """A BOOLEAN: 00 or FF and nothing else."""
    value = _BOOLEANS.get(expect(element, BOOLEAN, what))
    if value is None:
        raise _malformed(what, "a boolean that is neither 00 nor FF")
    return value


def encode(tag: int, content: bytes) -> bytes:
    """The element in DER."""
    size = len(content)
    if size < _SHORT:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    if len(length) > _MAX_WRITTEN_BYTES:
        raise Misused("der-length", "A DER element of more than 65535 bytes is never written.")
    return bytes([tag, _SHORT | len(length)]) + length + content


def encode_unsigned(tag: int, value: int) -> bytes:
    """A non-negative INTEGER or ENUMERATED."""
    return encode(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encode_boolean(value: bool) -> bytes:  # noqa: FBT001 -- the value itself is the argument
    """A BOOLEAN."""
    return encode(BOOLEAN, b"\xff" if value else b"\x00")


def content(data: bytes, at: int, what: str) -> tuple[int, int]:
    """Start and end of the content of the element at `at`. Raises `Malformed`: `{what}-der`."""
    if len(data) - at < 2:  # noqa: PLR2004 -- identifier and length
        raise _malformed(what, "an element that ends in its header")
    size, start = data[at + 1], at + 2
    if size >= _SHORT:
        count = size - _SHORT
        raw = data[start : start + count]
        size, start = int.from_bytes(raw, "big"), start + count  # a length that is cut off leaves less than nothing
        if count > _MAX_LENGTH_BYTES or raw.startswith(b"\x00") or size < _SHORT:
            raise _malformed(what, "a length that is indefinite, too long or not in its shortest form")
    if size > len(data) - start:
        raise _malformed(what, f"an element of {size} bytes where {len(data) - start} are left")
    return start, start + size


def ends_with_bits(data: bytes, bits: bytes) -> bool:
    """Whether `data` ends in a BIT STRING of exactly `bits`, none of them unused (X.690, 8.6.2).

    A signature is whole bytes; one that claims unused bits is another encoding of the same signature.
    """
    return data.endswith(b"\x00" + bits)


def _malformed(what: str, seen: str) -> Malformed:
    return Malformed(f"{what}-der", f"The {what} is not DER as it should be: {seen}.")
