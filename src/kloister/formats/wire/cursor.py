from __future__ import annotations

from kloister.errors import Malformed


class Cursor:
    """Reads a byte string from front to back; whatever does not fit is `Malformed`, naming field and offset.

    Args:
        data: the bytes; slices of them are handed out, never re-encoded.
        what: the name of the structure, for error messages and codes (`{what}-truncated`).
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._at = 0

    @property
    def offset(self) -> int:
        """Bytes consumed so far."""
        return self._at

    @property
    def left(self) -> int:
        """Bytes not yet consumed."""
        return len(self._data) - self._at

    def take(self, size: int, name: str) -> bytes:
        """The next `size` bytes."""
        if size < 0 or size > self.left:
            raise Malformed(
                f"{self._what}-truncated",
                f"The {self._what} ends inside {name}: {size} bytes wanted at offset {self._at}, {self.left} left.",
            )
        start, self._at = self._at, self._at + size
        return self._data[start : self._at]

    def uint(self, size: int, name: str) -> int:
        """An unsigned little-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size, name), "little")

    def zero(self, size: int, name: str) -> None:
        """`size` reserved bytes that must be zero."""
        start = self._at
        if any(self.take(size, name)):
            raise Malformed(f"{self._what}-reserved", f"Reserved bytes {name} at offset {start} must be zero.")

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(self.left, "rest")

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if self.left:
            raise Malformed(f"{self._what}-trailing", f"{self.left} bytes follow the {self._what} at {self._at}.")
