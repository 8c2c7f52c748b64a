"""The long end of a manifest, `[[sgx.trusted_files]]` after `[[sgx.trusted_files]]`, without a TOML parser's pace.

`tomllib` takes 25 ms for 1,400 files, and a launch reads its manifest twice. Nothing is taken here that TOML 1.0 would
read otherwise: what remains for the parser ends with the first of the tables, so that the parser has seen that the
document is at its top level there and that `sgx.trusted_files` is an array of tables, to which each further table of
exactly this spelling adds one. Anything spelled differently leaves everything to the parser.
"""

from __future__ import annotations

import re

_TEXT = r'"([^"\\\x00-\x1f\x7f]*)"'  # a basic string without escapes
_TABLE = re.compile(rf'\[\[sgx\.trusted_files\]\]\nuri = {_TEXT}\nsha256 = "([0-9a-f]{{64}})"\n\n?')
_TABLES = re.compile(rf"(?:{_TABLE.pattern})++")
_FIRST = re.compile(rf"^(?={_TABLE.pattern}\[)", re.MULTILINE)


def split(text: str) -> tuple[str, list[tuple[str, str]]]:
    """What a TOML parser must still read, and `uri` and `sha256` (64 digits) of each table after that."""
    first = _FIRST.search(text)
    if first is None:
        return text, []
    table = _TABLE.match(text, first.start())
    if table is None or not _TABLES.fullmatch(text, table.end()):
        return text, []
    return text[: table.end()], _TABLE.findall(text, table.end())
