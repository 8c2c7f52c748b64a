"""Reading of JSON objects whose unknown fields must survive: an image's documents outlive the tool that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kloister.errors import Malformed
from kloister.formats.wire import is_unicode, load_json

_MAX_DEPTH = 32  # nested lists and objects; real documents have 5
_MAX_INTEGER = 2**53 - 1


def load_object(data: bytes, what: str, limit: int) -> Fields:
    """A JSON object that can be written again without loss: no fractions, no lone surrogates, bounded depth.

    Raises:
        Malformed: `{what}-json`, `{what}-size`, `{what}-field`.
    """
    value = load_json(data, what, limit)
    _require_exact(value, what)
    return Fields(value, what)


def _require_exact(value: Any, what: str) -> None:
    todo = [(value, 0)]
    while todo:
        item, depth = todo.pop()
        if depth > _MAX_DEPTH:
            raise Malformed(f"{what}-field", f"The {what} is nested deeper than {_MAX_DEPTH} levels.")
        if isinstance(item, dict):
            todo += [(inner, depth + 1) for pair in item.items() for inner in pair]
        elif isinstance(item, list):
            todo += [(inner, depth + 1) for inner in item]
        elif not _is_exact(item):
            raise Malformed(f"{what}-field", f"The {what} holds a number or text that cannot be kept exactly.")


def _is_exact(item: Any) -> bool:
    if isinstance(item, str):
        return is_unicode(item)
    if isinstance(item, int):
        return abs(item) <= _MAX_INTEGER
    return item is None


class Fields:
    """Takes known fields out of an object, each with its type; `rest` is what nobody asked for.

    Null counts as absent: Docker writes null for empty lists and objects.
    """

    def __init__(self, value: Any, what: str) -> None:
        self._what = what
        if not isinstance(value, dict):
            raise Malformed(f"{what}-field", f"The {what} is not a JSON object.")
        self._left = {name: item for name, item in value.items() if item is not None}

    @property
    def rest(self) -> dict[str, Any]:
        """The fields that were not taken."""
        return self._left

    def bad(self, name: str, text: str) -> Malformed:
        """The refusal of one field."""
        return Malformed(f"{self._what}-field", f"The {self._what}'s {name} {text}.")

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default it must be there."""
        value = self._left.pop(name, default)
        if not isinstance(value, str):
            raise self.bad(name, "is missing or not a string")
        return value

    def number(self, name: str) -> int:
        """An integer that is not negative."""
        value = self._left.pop(name, None)
        if type(value) is not int or value < 0:
            raise self.bad(name, "is missing or not a number of 0 or more")
        return value

    def items(self, name: str) -> list[Any]:
        """A list; empty when absent."""
        value = self._left.pop(name, [])
        if not isinstance(value, list):
            raise self.bad(name, "is not a list")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty when absent."""
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise self.bad(name, "is not a list of strings")
        return tuple(values)

    def mapping(self, name: str) -> dict[str, Any]:
        """An object; empty when absent."""
        value = self._left.pop(name, {})
        if not isinstance(value, dict):
            raise self.bad(name, "is not an object")
        return value

    def labels(self, name: str) -> Mapping[str, str]:
        """An object of strings; empty when absent."""
        value = self.mapping(name)
        if not all(isinstance(item, str) for item in value.values()):
            raise self.bad(name, "does not hold strings only")
        return value

    def inner(self, name: str) -> Fields:
        """An object inside this one; it must be there."""
        if name not in self._left:
            raise self.bad(name, "is missing")
        return Fields(self._left.pop(name), self._what)
