"""Strict YAML 1.2 for documents that people write: what two readers could understand differently is an error.

Refused with line and column: duplicate keys, anchors and aliases, tags, several documents, directives other than
`%YAML 1.2`, and plain scalars that other readers take for something else (`yes`, `on`, `012`, `1_000`, `1.5`, dates).
JSON is YAML 1.2, so one reader serves both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kloister.errors import Malformed

MAX_TEXT = 256 * 1024  # bytes; a policy has some kB, and the reader, pure Python, takes up to 15 s for a MB
MAX_DEPTH = 32  # nested collections; a release policy needs six

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})", re.ASCII)
_AMBIGUOUS = re.compile(
    r"""(?ix) y|yes|n|no|on|off|true|false|null|~      # booleans and null of YAML 1.1, or in another case
      | [-+]?\.?[0-9][0-9_.,]*(e[-+]?[0-9_]*)?         # numbers that are not plain whole numbers
      | [-+]?0[xob][0-9a-f_]*                          # other bases
      | [-+]?\.(inf|nan)
      | [-+]?[0-9]+(:[0-9_]+)+(\.[0-9]*)?              # sexagesimal numbers and times of day
      | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([tT\s].*)?      # dates
      | <<|=                                           # merge and default keys of YAML 1.1
    """,
    re.ASCII,
)


def load(data: bytes, what: str) -> Any:
    """Plain values (maps, lists, text, whole numbers, true, false, null) of one YAML 1.2 document.

    Args:
        data: the document in UTF-8, at most `MAX_TEXT` bytes.
        what: the name of the document for error messages, for instance `policy.yaml`.

    Raises:
        Malformed: `yaml-size`, `yaml-encoding`, `yaml-syntax`, `yaml-duplicate-key`, `yaml-alias`, `yaml-tag`,
            `yaml-ambiguous`, each with line and column where there is one.
    """
    if len(data) > MAX_TEXT:
        raise Malformed("yaml-size", f"{what} has {len(data)} bytes; at most {MAX_TEXT} are read.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("yaml-encoding", f"{what} is not UTF-8 at byte {error.start}.") from None
    return _Reader(what).document(text)


class _Reader:
    """Turns the parser's events into plain values, refusing on the way."""

    def __init__(self, what: str) -> None:
        self._what = what

    def document(self, text: str) -> Any:
        """The one document of the text."""
        from ruamel.yaml import YAML  # noqa: PLC0415  imported late: the broker starts without it
        from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415  same

        try:
            # event by event, so that the depth is known before the text is read to its end
            return self._single(iter(YAML(typ="safe", pure=True).parse(text)))
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._refusal("yaml-syntax", mark, str(error.problem or "is not YAML")) from None
        except (YAMLError, RecursionError, ValueError, UnicodeError):
            raise Malformed("yaml-syntax", f"{self._what} holds characters that YAML does not allow.") from None

    def _single(self, events: Iterator[Any]) -> Any:
        next(events)  # the stream's start
        start = next(events)
        if _kind(start) != "DocumentStart":
            raise Malformed("yaml-syntax", f"{self._what} is empty.")
        if start.version not in (None, (1, 2)) or start.tags:
            raise self._refusal("yaml-syntax", start.start_mark, "only the directive %YAML 1.2 is allowed")
        value = self._node(next(events), events, 0)
        next(events)  # the document's end
        following = next(events)
        if _kind(following) != "StreamEnd":
            raise self._refusal("yaml-syntax", following.start_mark, "a second document starts")
        return value

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Any:
        kind = _kind(event)
        if kind == "Alias" or getattr(event, "anchor", None) is not None:
            hint = "Write the value out where it is needed."
            raise self._refusal("yaml-alias", event.start_mark, "anchors and aliases are not allowed", hint)
        if event.tag is not None:
            raise self._refusal("yaml-tag", event.start_mark, "tags are not allowed", "Remove the tag.")
        if depth > MAX_DEPTH:
            raise self._refusal("yaml-syntax", event.start_mark, f"more than {MAX_DEPTH} nested levels")
        if kind == "Scalar":
            return self._scalar(event)
        if kind == "SequenceStart":
            return self._sequence(events, depth + 1)
        return self._mapping(events, depth + 1)

    def _sequence(self, events: Iterator[Any], depth: int) -> list[Any]:
        result = []
        while _kind(event := next(events)) != "SequenceEnd":
            result.append(self._node(event, events, depth))
        return result

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while _kind(event := next(events)) != "MappingEnd":
            key = self._node(event, events, depth)
            if not isinstance(key, str):
                raise self._refusal("yaml-syntax", event.start_mark, "a key must be text", "Put it in quotes.")
            if key in result:
                raise self._refusal("yaml-duplicate-key", event.start_mark, f"the key {key[:64]} is given twice")
            result[key] = self._node(next(events), events, depth)
        return result

    def _scalar(self, event: Any) -> Any:
        value: str = event.value
        if event.style:
            return value
        if value in ("true", "false"):
            return value == "true"
        if value in ("", "null"):
            return None
        if _INTEGER.fullmatch(value) and abs(int(value)) < 2**53 and value != "-0":
            return int(value)
        if _AMBIGUOUS.fullmatch(value):
            hint = f'Put it in quotes if it is text: "{value[:64]}".'
            raise self._refusal("yaml-ambiguous", event.start_mark, f"{value[:64]} means different things", hint)
        return value

    def _refusal(self, code: str, mark: Any, text: str, hint: str = "") -> Malformed:
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        return Malformed(code, f"{self._what}{where}: {text}.", hint)


def _kind(event: Any) -> str:
    return type(event).__name__.removesuffix("Event")
