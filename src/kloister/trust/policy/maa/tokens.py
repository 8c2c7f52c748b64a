"""The words of a policy's text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from kloister.formats.wire import is_unicode
from kloister.trust.policy.maa.failure import MaaSyntaxError
from kloister.trust.policy.maa.place import Place

MAX_TEXT = 64 * 1024  # bytes of UTF-8; the longest published policies have some 10 kB
_SHOWN = 64  # characters


class Kind(StrEnum):
    """Of a token."""

    SPACE = "space"  # and comments
    TEXT = "text"
    DECIMAL = "decimal"  # of versions only
    INTEGER = "integer"
    WORD = "word"
    SYMBOL = "symbol"
    END = "<EOF>"


@dataclass(frozen=True, slots=True)
class Token:
    """A word as it is written, and where it begins."""

    kind: Kind
    text: str
    place: Place

    @property
    def shown(self) -> str:
        """The word for a message, cut where it is long."""
        return self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}..."


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
      |(?P<text>"(?:[^"\\]|\\["\\])*")
      |(?P<decimal>[0-9]+\.[0-9]+)
      |(?P<integer>[0-9]+)
      |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
      |(?P<symbol>=>|==|!=|<=|>=|&&|[][{}(),;:.=!<>])""",
    re.VERBOSE,
)
_KINDS = {str(kind): kind for kind in Kind}
_HINTS = {
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019'", 'Write strings in straight double quotes: "...".'),
    '"': 'A string ends with " and knows two escapes: \\" and \\\\.',
    "~": "There are no regular expressions in the language; compare with ==.",
    "|": "There is no OR in the language: write a rule for each alternative.",
    "&": "Conditions are joined with &&.",
    "/": "A comment begins with // and ends with its line.",
    "$": 'Names of claims stand in quotes: [type=="$is-debuggable"].',
    "-": "Integers have digits only.",
    "\ufeff": "Save the file as UTF-8 without a byte order mark.",
    "\u00a0": "Write an ordinary space; this one came from a web page or a word processor.",
}


def tokenize(text: str) -> list[Token]:
    """The tokens of a text without spaces and comments, the last of kind `END`.

    Raises:
        MaaSyntaxError: a character begins no token, a string has no end, or the text has more than 64 KiB.
    """
    if len(text) > MAX_TEXT or not is_unicode(text) or len(text.encode()) > MAX_TEXT:
        raise MaaSyntaxError(Place(), text[:16], f"the policy is not text of at most {MAX_TEXT} bytes of UTF-8")
    tokens: list[Token] = []
    at, line, line_start = 0, 1, 0
    while at < len(text):
        found, column = _TOKEN.match(text, at), at - line_start + 1
        if found is None:
            failure = f"token recognition error at: '{text[at]}'"
            raise MaaSyntaxError(Place(line, column), text[at], failure, _HINTS.get(text[at], ""))
        kind, word, at = _KINDS[found.lastgroup or ""], found[0], found.end()
        if kind is not Kind.SPACE:
            tokens.append(Token(kind, word, Place(line, column)))
        if "\n" in word:
            line += word.count("\n")
            line_start = found.start() + word.rindex("\n") + 1
    tokens.append(Token(Kind.END, Kind.END, Place(line, at - line_start + 1)))
    return tokens
