"""A TOML writer whose output depends on the document alone: the bytes of a manifest are measured.

It exists because what enters MRENCLAVE must not change with a library's version, and the launcher must not import one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kloister.errors import Misused

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def emit(document: Mapping[str, Any]) -> bytes:
    """UTF-8 TOML 1.0 of strings, integers, booleans, lists and tables, in the order of the mapping.

    Tables become `[section]`, lists of tables `[[section]]`, everything else one line each.

    Raises:
        Misused: `toml-type` for any other type, `toml-text` for text that UTF-8 cannot hold.
    """
    text = "\n".join(_table(document, ())).strip("\n") + "\n"
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Misused("toml-text", "TOML holds Unicode scalar values only; a lone surrogate was given.") from None


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    nested = [(key, value) for key, value in table.items() if _is_section(value)]
    for key, value in table.items():
        if not _is_section(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in nested:
        yield from _section(value, (*path, key))


def _section(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    name = ".".join(map(_key, path))
    if isinstance(value, Mapping):
        yield ""
        yield f"[{name}]"
        yield from _table(value, path)
        return
    for table in value:
        yield ""
        yield f"[[{name}]]"
        yield from _table(table, path)


def _is_section(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return _is_list(value) and len(value) > 0 and all(isinstance(item, Mapping) for item in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if _is_list(value):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise Misused("toml-type", f"TOML here cannot hold a {type(value).__name__}.")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's but for DEL, which TOML wants escaped
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
