"""Reading the fields of Intel's JSON documents strictly: right type, right range, bounded lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kloister.errors import Malformed
from kloister.formats.dcap.status import TcbStatus
from kloister.formats.wire import load_json, unhex

MAX_SIZE = 1024 * 1024  # bytes of one document; Intel's have 10 to 60 KiB
MAX_LEVELS = 1000  # TCB levels in one document; Intel's have about 20
MAX_ADVISORIES = 1000  # advisories of one level; Intel's have about 40
_STATUSES = {str(each): each for each in TcbStatus}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object. Every reader raises `Malformed` with `{what}-field` where a field is missing or unfit."""

    fields: dict[str, Any]
    what: str

    @classmethod
    def load(cls, text: str, what: str) -> Document:
        """Parse the exact signed text. Raises `Malformed`: `{what}-size`, `{what}-json`, `{what}-field`."""
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError:
            raise Malformed(f"{what}-json", f"The {what} is not text.") from None
        return cls.of(load_json(data, what, MAX_SIZE), what)

    @classmethod
    def of(cls, value: Any, what: str) -> Document:
        """A value that must be an object."""
        if not isinstance(value, dict):
            raise Malformed(f"{what}-field", f"The {what} has a value where an object belongs.")
        return cls(value, what)

    def unfit(self, name: str) -> Malformed:
        """The error for a field that is missing or not what the schema says."""
        return Malformed(f"{self.what}-field", f"The field {name} of the {self.what} is missing or not of its kind.")

    def number(self, name: str, limit: int) -> int:
        """An integer from 0 to `limit`."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
            raise self.unfit(name)
        return value

    def text(self, name: str) -> str:
        """A string."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self.unfit(name)
        return value

    def hex(self, name: str, size: int) -> bytes:
        """`size` bytes in hexadecimal of either case."""
        try:
            return unhex(self.text(name), self.what, size)
        except Malformed:
            raise self.unfit(name) from None

    def date(self, name: str) -> datetime:
        """An instant in Intel's form, `2025-08-15T05:08:18Z`."""
        value = self.text(name)
        if not _DATE.fullmatch(value):
            raise self.unfit(name)
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise self.unfit(name) from None

    def status(self, name: str, allowed: frozenset[TcbStatus]) -> TcbStatus:
        """One of the statuses that this document may use."""
        value = self.text(name)
        status = _STATUSES.get(value)
        if status not in allowed:
            raise self.unfit(name)
        return status

    def items(self, name: str, limit: int) -> list[Any]:
        """A list of at most `limit` values."""
        value = self.fields.get(name)
        if not isinstance(value, list) or len(value) > limit:
            raise self.unfit(name)
        return value

    def objects(self, name: str, limit: int) -> list[Document]:
        """A list of objects."""
        return [Document.of(item, self.what) for item in self.items(name, limit)]

    def object(self, name: str) -> Document:
        """An object."""
        return Document.of(self.fields.get(name), self.what)

    def advisories(self) -> tuple[str, ...]:
        """`advisoryIDs`, which may be absent."""
        if "advisoryIDs" not in self.fields:
            return ()
        values = self.items("advisoryIDs", MAX_ADVISORIES)
        if not set(map(type, values)) <= {str}:
            raise self.unfit("advisoryIDs")
        return tuple(values)
