"""Typed access to the members of a decoded JSON object; what is missing or of another type is `Malformed`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kloister.errors import Malformed
from kloister.formats.wire import is_unicode, unb64url


def _wrong(what: str, name: str, wanted: str) -> Malformed:
    return Malformed(f"{what}-{name.lower()}", f"The member `{name}` of the {what} must be {wanted}.")


def only(message: Mapping[str, Any], names: set[str], what: str) -> None:
    """Refuse members that nobody would read: a misspelt one must not be ignored in silence."""
    unknown = sorted(set(message) - names)
    if unknown:
        raise Malformed(f"{what}-member", f"The {what} has the unknown member {unknown[0][:64]!a}.")


def text(message: Mapping[str, Any], name: str, what: str, limit: int) -> str:
    """A string of at most `limit` characters, encodable as UTF-8 and without NUL."""
    value = message.get(name)
    if not isinstance(value, str) or len(value) > limit or "\0" in value or not is_unicode(value):
        raise _wrong(what, name, f"a string of at most {limit} characters")
    return value


def integer(message: Mapping[str, Any], name: str, what: str, least: int, most: int) -> int:
    """An integer from `least` to `most`; true and false are no integers."""
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _wrong(what, name, f"an integer from {least} to {most}")
    return value


def flag(message: Mapping[str, Any], name: str, what: str) -> bool:
    """True or false."""
    value = message.get(name)
    if not isinstance(value, bool):
        raise _wrong(what, name, "true or false")
    return value


def octets(message: Mapping[str, Any], name: str, what: str, size: int | None = None, limit: int = 1 << 24) -> bytes:
    """Bytes written as base64url: exactly `size` of them, or at most `limit`."""
    value = message.get(name)
    if not isinstance(value, str):
        raise _wrong(what, name, "base64url")
    data = unb64url(value, f"{what}-{name.lower()}")
    if len(data) > limit or (size is not None and len(data) != size):
        raise _wrong(what, name, f"{size} bytes" if size is not None else f"at most {limit} bytes")
    return data


def mapping(message: Mapping[str, Any], name: str, what: str, limit: int) -> dict[str, Any]:
    """An object of at most `limit` members."""
    value = message.get(name)
    if not isinstance(value, dict) or len(value) > limit:
        raise _wrong(what, name, f"an object of at most {limit} members")
    return value


def strings(message: Mapping[str, Any], name: str, what: str, limit: int, length: int) -> tuple[str, ...]:
    """A list of at most `limit` strings of at most `length` characters."""
    value = message.get(name)
    if not isinstance(value, list) or len(value) > limit:
        raise _wrong(what, name, f"a list of at most {limit} strings")
    return tuple(text({name: item}, name, what, length) for item in value)
