from __future__ import annotations

import base64
import binascii
import json
import re
from json.scanner import make_scanner
from typing import Any, TypeGuard

from kloister.errors import Malformed, Misused

_B64URL = re.compile(r"[A-Za-z0-9_-]*")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_BLANKS = " \t\n\r"  # around a JSON text (RFC 8259, section 2)
_TO_URL = bytes.maketrans(b"+/", b"-_")
_MAX_SAFE_INTEGER = 2**53 - 1


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return b64url_bytes(data).decode("ascii")


def b64url_bytes(data: bytes) -> bytes:
    """The same as bytes."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def unb64url(text: str, what: str) -> bytes:
    """The reverse of `b64url`, strict: no padding, no other characters, no non-zero spare bits."""
    if not isinstance(text, str) or not _B64URL.fullmatch(text) or len(text) % 4 == 1:
        raise Malformed(f"{what}-base64url", f"The {what} is not base64url without padding.")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url(data) != text:
        raise Malformed(f"{what}-base64url", f"The {what} has spare bits that are not zero.")
    return data


def unhex(text: str, what: str, size: int | None = None) -> bytes:
    """Bytes from hexadecimal digits of either case; with `size`, exactly that many bytes."""
    try:
        data = binascii.unhexlify(text)
    except (binascii.Error, ValueError, TypeError):
        raise Malformed(f"{what}-hex", f"The {what} is not hexadecimal.") from None
    if size is not None and len(data) != size:
        raise Malformed(f"{what}-hex", f"The {what} must have {size} bytes, not {len(data)}.")
    return data


def is_name(value: Any) -> TypeGuard[str]:
    """Whether it is a name of a namespace, policy, service or secret: 1 to 63 of a-z, 0-9 and inner hyphens."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it: JSON may write half a surrogate pair, which no text has (RFC 8259, section 8.2)."""
    return _HALF_PAIR.search(text) is None


def canonical_json(value: Any) -> bytes:
    """RFC 8785 canonical JSON of strings, safe integers, booleans, null, lists and objects (no fractions)."""
    return _canonical(value).encode("utf-8")


def _canonical(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        if abs(value) > _MAX_SAFE_INTEGER:
            raise Misused("json-integer", "Canonical JSON holds integers up to 2^53-1 only.")
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_canonical(item) for item in value) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))  # RFC 8785, 3.2.3: UTF-16 code units
        return "{" + ",".join(f"{_canonical(key)}:{_canonical(value[key])}" for key in keys) + "}"
    raise Misused("json-type", f"Canonical JSON cannot hold a {type(value).__name__}.")


def load_json(data: bytes, what: str, limit: int) -> Any:
    """Strict JSON in UTF-8: at most `limit` bytes, no duplicate keys, no NaN, bounded depth.

    Raises:
        Malformed: `{what}-json` or `{what}-size`.
    """
    if len(data) > limit:
        raise Malformed(f"{what}-size", f"The {what} has {len(data)} bytes; at most {limit} are read.")
    try:
        text = data.decode("utf-8").strip(_BLANKS)
        value, end = _SCAN(text, 0)
    except (ValueError, RecursionError, StopIteration):
        raise Malformed(f"{what}-json", f"The {what} is not well-formed JSON with unique keys.") from None
    if end != len(text):
        raise Malformed(f"{what}-json", f"The {what} is followed by something else.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


# what JSONDecoder.decode calls, without its three functions around that
_DECODER: Any = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
_SCAN = make_scanner(_DECODER)
