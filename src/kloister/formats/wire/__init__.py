"""The cursor, the writer and the text encodings that every format is built from."""

from kloister.formats.wire.cursor import Cursor
from kloister.formats.wire.text import (
    b64url,
    b64url_bytes,
    canonical_json,
    is_name,
    is_unicode,
    load_json,
    unb64url,
    unhex,
)
from kloister.formats.wire.writer import Writer, length_prefixed

__all__ = [
    "Cursor",
    "Writer",
    "b64url",
    "b64url_bytes",
    "canonical_json",
    "is_name",
    "is_unicode",
    "length_prefixed",
    "load_json",
    "unb64url",
    "unhex",
]
