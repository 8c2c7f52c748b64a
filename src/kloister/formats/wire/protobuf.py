"""The part of protobuf's wire format (version 2 of the language) that small, fixed messages need.

Stricter than protobuf's own readers: a known field stands once, with its own wire type and a number in its shortest
form that fits; groups are refused. Fields that the schema does not name are passed over, as protobuf demands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from kloister.errors import Malformed, Misused
from kloister.formats.wire.cursor import Cursor

Value = int | bool | bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 are groups
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
    cursor = Cursor(data, what)
    while cursor.left:
        number, wire = divmod(_varint(cursor, what), 8)
        if not 0 < number <= _MOST_NUMBER or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise Malformed(f"{what}-wire-type", f"The {what} has a field of no known wire type at {cursor.offset}.")
        if wire == _VARINT:
            yield number, _varint(cursor, what)
        elif wire == _BYTES:
            yield number, cursor.take(_varint(cursor, what), f"field {number}")
        else:
            cursor.take(8 if wire == _FIXED64 else 4, f"field {number}")
            yield number, None


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


def _varint(cursor: Cursor, what: str) -> int:
    value = 0
    for index in range(_LONGEST):
        byte = cursor.uint(1, "a number")
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 (the bit that says that more follows)
            if value >> 64 or (index and not byte):
                break
            return value
    raise Malformed(f"{what}-varint", f"The {what} has a number that is not in its shortest form, or too large.")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:  # noqa: PLR2004 (as above)
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
