"""Reads plain values field by field; every error names the field by its path in the document."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import date
from typing import Any, NoReturn

from kloister.errors import Malformed
from kloister.formats.wire import is_name, is_unicode

MAX_ITEMS = 256  # entries of one list or map: far above real documents, keeps a decision's work bounded
MAX_TEXT = 64 * 1024  # characters of one string: a certificate chain fits many times


def wrong(path: str, text: str, hint: str = "") -> NoReturn:
    """Refuse the value at `path`."""
    raise Malformed("policy-invalid", f"{path or 'The document'} {text}.", hint)


class Fields:
    """A map whose fields are taken one by one; what is left over at the end is unknown or not supported yet.

    Args:
        value: the plain value, refused unless it is a map with text keys.
        path: where it stands, for instance `attestation.any[0].sgx`.
        planned: fields that the schema has room for but that this version does not act on.
    """

    def __init__(self, value: Any, path: str, planned: Collection[str] = ()) -> None:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            wrong(path, "must be a map of fields")
        self._left: dict[str, Any] = dict(value)
        self._path = path
        self._planned = planned

    def path(self, name: str) -> str:
        """The path of a field of this map."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Whether the field is given and not yet taken."""
        return name in self._left

    def need(self, name: str) -> Any:
        """A field that must be there."""
        if name not in self._left:
            wrong(self.path(name), "is missing")
        return self._left.pop(name)

    def take(self, name: str, default: Any) -> Any:
        """A field that may be left out."""
        return self._left.pop(name, default)

    def finish(self) -> None:
        """Refuse what nobody took: a field that is ignored would be a promise that is not kept."""
        for name in self._left:
            if name in self._planned:
                raise Malformed(
                    "policy-not-supported-yet",
                    f"{self.path(name)} is part of the policy language, but this version cannot keep it.",
                    "Remove the field; nothing weaker is done in its place.",
                )
            raise Malformed(
                "policy-unknown-field",
                f"{self.path(name)} is not a field of a release policy.",
                "Check the spelling against docs/reference/policy.md.",
            )


def text(value: Any, path: str, *, empty: bool = False) -> str:
    """A string of Unicode characters without NUL."""
    if not isinstance(value, str) or (not value and not empty):
        wrong(path, "must be text", "Put it in quotes." if isinstance(value, (int, bool)) else "")
    if len(value) > MAX_TEXT:
        wrong(path, f"has more than {MAX_TEXT} characters")
    if "\0" in value or not is_unicode(value):
        wrong(path, "holds a NUL or half a surrogate pair")
    return value


def name(value: Any, path: str) -> str:
    """A name: 1 to 63 of a-z, 0-9 and inner hyphens, as the release exchange takes them."""
    if not is_name(value):
        wrong(path, "must be 1 to 63 of a-z, 0-9 and inner hyphens")
    return value


def integer(value: Any, path: str, low: int, high: int) -> int:
    """A whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        wrong(path, f"must be a whole number from {low} to {high}")
    return value


def boolean(value: Any, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        wrong(path, "must be true or false")
    return value


def hexadecimal(value: Any, path: str, size: int) -> bytes:
    """Exactly `size` bytes in hexadecimal."""
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-fA-F]{{{2 * size}}}", value):
        wrong(path, f"must be {2 * size} hexadecimal digits", "Put them in quotes.")
    return bytes.fromhex(value)


def day(value: Any, path: str) -> date:
    """A day as YYYY-MM-DD."""
    try:
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            return date.fromisoformat(value)
    except ValueError:
        pass
    wrong(path, "must be a day as YYYY-MM-DD", 'Put it in quotes: "2027-01-31".')


def items(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    """The entries of a list, each with its path."""
    if not isinstance(value, list):
        wrong(path, "must be a list")
    if len(value) > MAX_ITEMS:
        wrong(path, f"has more than {MAX_ITEMS} entries")
    return ((entry, f"{path}[{index}]") for index, entry in enumerate(value))


def texts(value: Any, path: str) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(text(entry, where, empty=True) for entry, where in items(value, path))


def pairs(value: Any, path: str, key: re.Pattern[str], shape: str) -> dict[str, str]:
    """A map of text to text whose keys match `key` (`shape` says so in words)."""
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value):
        wrong(path, "must be a map of text to text")
    if len(value) > MAX_ITEMS:
        wrong(path, f"has more than {MAX_ITEMS} entries")
    for one in value:
        if not key.fullmatch(one):
            wrong(f"{path}.{one[:64]!a}", f"must be named by {shape}")
    return {one: text(found, f"{path}.{one}", empty=True) for one, found in value.items()}


def distinct(names: list[str], path: str) -> None:
    """Refuse a name that is given twice."""
    for one in names:
        if names.count(one) > 1:
            wrong(path, f"names {one} twice")
