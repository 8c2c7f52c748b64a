"""CBOR (RFC 8949) as far as RA-TLS uses it: definite lengths in their shortest form, no floats, no simple values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kloister.errors import Malformed

MAX_DEPTH = 8  # nested arrays, maps and tags; RA-TLS needs four
MAX_ITEMS = 64  # of one array or map; an endorsement has nine
_WHAT = "ratls-cbor"
_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = 0, 2, 3, 4, 5, 6  # major types, section 3.1
_INLINE = 24  # below this, the additional information is the number itself
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag and the item that it encloses."""

    tag: int
    item: Item


Item: TypeAlias = "int | bytes | str | list[Item] | dict[str, Item] | Tagged"


def decode(data: bytes) -> Item:
    """The one item that fills `data`; keys of maps are text.

    Raises:
        Malformed: `ratls-cbor`.
    """
    item, end = _item(data, 0, 0)
    if end != len(data):
        raise _malformed("bytes after the item")
    return item


def encode(item: Item) -> bytes:
    """The item with lengths in their shortest form; maps keep their order."""
    if isinstance(item, int):
        return _head(_UNSIGNED, item)
    if isinstance(item, bytes):
        return _head(_BYTES, len(item)) + item
    if isinstance(item, str):
        text = item.encode("utf-8")
        return _head(_TEXT, len(text)) + text
    if isinstance(item, list):
        return _head(_ARRAY, len(item)) + b"".join(encode(each) for each in item)
    if isinstance(item, dict):
        return _head(_MAP, len(item)) + b"".join(encode(name) + encode(each) for name, each in item.items())
    return _head(_TAG, item.tag) + encode(item.item)


def _head(major: int, number: int) -> bytes:
    if number < _INLINE:
        return bytes([major << 5 | number])
    for information, width in _WIDTHS.items():
        if number < 1 << 8 * width:
            return bytes([major << 5 | information]) + number.to_bytes(width, "big")
    raise _malformed("a number above 64 bits")


def _item(data: bytes, at: int, depth: int) -> tuple[Item, int]:
    if depth > MAX_DEPTH:
        raise _malformed(f"more than {MAX_DEPTH} nested items")
    major, number, at = _start(data, at)
    if major == _UNSIGNED:
        return number, at
    if major in (_BYTES, _TEXT):
        return _string(data, at, number, text=major == _TEXT)
    if major == _TAG:
        item, at = _item(data, at, depth + 1)
        return Tagged(number, item), at
    if major not in (_ARRAY, _MAP) or number > MAX_ITEMS:
        raise _malformed("an item of a kind or size that is not read")
    if major == _ARRAY:
        return _array(data, at, number, depth)
    return _map(data, at, number, depth)


def _start(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, number, and where the item's content starts."""
    if at >= len(data):
        raise _malformed("an item that is cut off")
    major, information = data[at] >> 5, data[at] & 0x1F
    if information < _INLINE:
        return major, information, at + 1
    width = _WIDTHS.get(information, 0)
    raw = data[at + 1 : at + 1 + width]
    number = int.from_bytes(raw, "big")
    shortest = number >= _INLINE if width == 1 else number >= 1 << 4 * width
    if not width or len(raw) != width or not shortest:
        raise _malformed("a length that is indefinite, cut off or not in its shortest form")
    return major, number, at + 1 + width


def _string(data: bytes, at: int, size: int, *, text: bool) -> tuple[Item, int]:
    content = data[at : at + size]
    if len(content) != size:
        raise _malformed("a string that is cut off")
    try:
        return (content.decode("utf-8") if text else content), at + size
    except UnicodeDecodeError:
        raise _malformed("text that is not UTF-8") from None


def _array(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    items: list[Item] = []
    for _ in range(count):
        item, at = _item(data, at, depth + 1)
        items.append(item)
    return items, at


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    items: dict[str, Item] = {}
    for _ in range(count):
        name, at = _item(data, at, depth + 1)
        if not isinstance(name, str) or name in items:
            raise _malformed("a key that is no text or stands there twice")
        items[name], at = _item(data, at, depth + 1)
    return items, at


def _malformed(what: str) -> Malformed:
    return Malformed(_WHAT, f"The evidence in the certificate is not strict CBOR: {what}.")
