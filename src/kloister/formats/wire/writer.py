from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from kloister.errors import Misused


class Writer:
    """Builds a byte string from front to back; a value that does not fit its field is a bug of ours."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def raw(self, data: bytes, size: int | None = None) -> Self:
        """Append bytes; with `size`, exactly that many are expected."""
        if size is not None and len(data) != size:
            raise Misused("field-size", f"A field of {size} bytes was given {len(data)}.")
        self._parts.append(data)
        return self

    def uint(self, value: int, size: int) -> Self:
        """Append an unsigned little-endian integer of `size` bytes."""
        if not 0 <= value < 1 << (8 * size):
            raise Misused("field-range", f"A field of {size} bytes cannot hold the value given.")
        return self.raw(value.to_bytes(size, "little"))

    def zero(self, size: int) -> Self:
        """Append `size` zero bytes."""
        return self.raw(bytes(size))

    def build(self) -> bytes:
        """All that was appended."""
        return b"".join(self._parts)


def length_prefixed(fields: Iterable[bytes]) -> bytes:
    """Each field behind its length as u32 big-endian, so that no two lists give the same bytes."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)
