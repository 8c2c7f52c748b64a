"""Values inside the release exchange's messages: names, texts, bytes, each with its limit."""

from __future__ import annotations

import re
from typing import Any

from kloister.errors import Malformed
from kloister.formats.wire import is_name, is_unicode, unb64url

_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def exactly(value: Any, what: str, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """`value` as an object that has exactly the named members, each of its kind.

    A boolean is not taken for an integer.

    Raises:
        Malformed: `{what}-fields`.
    """
    if not isinstance(value, dict) or value.keys() != kinds.keys():
        raise Malformed(f"{what}-fields", f"The {what} must be an object of exactly: {', '.join(kinds)}.")
    for member, kind in kinds.items():
        if not isinstance(value[member], kind) or isinstance(value[member], bool):
            raise Malformed(f"{what}-fields", f"The member {member} of the {what} has a wrong type.")
    return value


def text(value: Any, what: str, limit: int) -> str:
    """A string without NUL that UTF-8 can hold, at most `limit` bytes of it.

    Raises:
        Malformed: `{what}-text`.
    """
    if isinstance(value, str) and "\0" not in value and is_unicode(value) and len(value.encode("utf-8")) <= limit:
        return value
    raise Malformed(f"{what}-text", f"The {what} must hold text of at most {limit} bytes, without NUL or half pairs.")


def texts(value: Any, what: str, count: int, limit: int) -> tuple[str, ...]:
    """A list of at most `count` strings as `text` takes them."""
    if not isinstance(value, list) or len(value) > count:
        raise Malformed(f"{what}-list", f"The {what} must be a list of at most {count} strings.")
    return tuple(text(item, what, limit) for item in value)


def pairs(value: Any, what: str, count: int, limit: int) -> dict[str, str]:
    """An object of at most `count` members whose names and values are strings as `text` takes them."""
    if not isinstance(value, dict) or len(value) > count:
        raise Malformed(f"{what}-object", f"The {what} must be an object of at most {count} strings.")
    return {text(key, what, limit): text(item, what, limit) for key, item in value.items()}


def octets(value: Any, what: str, size: int | None = None, limit: int | None = None) -> bytes:
    """Bytes from base64url; exactly `size` or at most `limit` of them.

    Raises:
        Malformed: `{what}-base64url` or `{what}-size`.
    """
    data = unb64url(value, what)
    if (size is not None and len(data) != size) or (limit is not None and len(data) > limit):
        raise Malformed(f"{what}-size", f"The {what} has {len(data)} bytes, which is not what it may have.")
    return data


def name(value: Any, what: str) -> str:
    """The name of a namespace, policy, service or secret: lower-case letters, digits and inner hyphens, up to 63."""
    if not is_name(value):
        raise Malformed(f"{what}-name", f"The {what} must be 1 to 63 of a-z, 0-9 and inner hyphens.")
    return value


def instance_name(value: Any, what: str) -> str:
    """The name of an instance: letters, digits, dot, underscore, hyphen; up to 128."""
    if not isinstance(value, str) or not _INSTANCE.fullmatch(value):
        raise Malformed(f"{what}-name", f"The {what} must be 1 to 128 letters, digits, dots, underscores and hyphens.")
    return value
