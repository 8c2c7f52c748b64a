"""The part of protobuf's wire format (version 2 of the language) that small, fixed messages need.

Stricter than protobuf's own readers: a known field stands once, with its own wire type and a number in its shortest
form that fits; groups are refused. Fields that the schema does not name are passed over, as protobuf demands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from kloister.errors import Malformed, Misused

Value = int | bool | bytes

_VARINT, _BYTES = 0, 2  # wire types; 3 and 4 are groups
_FIXED = {1: 8, 5: 4}  # those of fixed size, and that size
_WIRE_TYPES = {_VARINT, _BYTES, *_FIXED}
_MORE = 0x80  # the bit of a byte of a varint that says that another follows
_LONGEST = 10  # bytes of a varint of 64 bits
_MOST_NUMBER = (1 << 29) - 1  # the greatest field number


class Kind(Enum):
    """The type of a field; the value is the number of bits of an integer."""

    BYTES = 0
    BOOL = 1
    UINT32 = 32
    UINT64 = 64


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: its number there, the attribute that holds it (None where it is absent), its type."""

    number: int
    name: str
    kind: Kind
    required: bool = False


def fields(data: bytes, what: str) -> Iterator[tuple[int, Value | None]]:
    """Number and value of each field in order; None stands for numbers of fixed size, which no message here has.

    Raises:
        Malformed: `{what}-truncated`, `{what}-varint`, `{what}-wire-type`.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at, what)
        number, wire = divmod(key, 8)
        if not 0 < number <= _MOST_NUMBER or wire not in _WIRE_TYPES:
            raise Malformed(f"{what}-wire-type", f"The {what} has a field of no known wire type before offset {at}.")
        if wire == _VARINT:
            value, at = _varint(data, at, what)
            yield number, value
            continue
        size, at = _varint(data, at, what) if wire == _BYTES else (_FIXED[wire], at)
        if size > len(data) - at:
            raise _truncated(what, at)
        yield number, data[at : at + size] if wire == _BYTES else None
        at += size


def read(data: bytes, schema: tuple[Field, ...], what: str) -> dict[str, Value | None]:
    """The values of a message by the names of the schema; None where an optional field is absent.

    Raises:
        Malformed: as `fields`, and `{what}-field` for a value of another type, a field that stands twice or is missing.
    """
    known = {field.number: field for field in schema}
    values: dict[str, Value | None] = {field.name: None for field in schema}
    for number, value in fields(data, what):
        field = known.get(number)
        if field is None:
            continue
        if values[field.name] is not None:
            raise Malformed(f"{what}-field", f"The field {field.name} of the {what} stands twice.")
        values[field.name] = _typed(field, value, what)
    missing = [field.name for field in schema if field.required and values[field.name] is None]
    if missing:
        raise Malformed(f"{what}-field", f"The {what} lacks the field {missing[0]}.")
    return values


def write(values: Mapping[str, Value | None], schema: tuple[Field, ...]) -> bytes:
    """A message, its fields in the order of the schema; None leaves a field out."""
    parts = []
    for field in schema:
        value = values[field.name]
        if value is not None:
            parts.append(embed(field.number, value) if isinstance(value, bytes) else _number(field, value))
        elif field.required:
            raise Misused("protobuf-required", f"The field {field.name} must be given.")
    return b"".join(parts)


def embed(number: int, data: bytes) -> bytes:
    """One field of bytes, or an embedded message."""
    return _encoded(number * 8 + _BYTES) + _encoded(len(data)) + data


def _typed(field: Field, value: Value | None, what: str) -> Value:
    if field.kind is Kind.BYTES:
        if isinstance(value, bytes):
            return value
    elif isinstance(value, int) and value < 1 << field.kind.value:
        return bool(value) if field.kind is Kind.BOOL else value
    raise Malformed(f"{what}-field", f"The field {field.name} of the {what} has a value of another type.")


def _number(field: Field, value: int) -> bytes:
    if not 0 <= value < 1 << field.kind.value:
        raise Misused("protobuf-range", f"The field {field.name} cannot hold the value given.")
    return _encoded(field.number * 8 + _VARINT) + _encoded(int(value))


def _varint(data: bytes, at: int, what: str) -> tuple[int, int]:
    """The number at an offset, and the offset behind it."""
    value = 0
    for index, byte in enumerate(data[at : at + _LONGEST]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < _MORE:
            if value >> 64 or (index and not byte):
                break
            return value, at + index + 1
    else:
        if len(data) < at + _LONGEST:
            raise _truncated(what, at)
    raise Malformed(f"{what}-varint", f"The {what} has a number that is too large or not in its shortest form at {at}.")


def _truncated(what: str, at: int) -> Malformed:
    return Malformed(f"{what}-truncated", f"The {what} ends inside what begins at offset {at}.")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= _MORE:
        out.append(value & 0x7F | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)
