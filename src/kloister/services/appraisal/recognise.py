from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from enum import StrEnum

from kloister.errors import Malformed

MAX_SIZE = 1024 * 1024  # bytes: a quote of the largest size, in hexadecimal with line breaks, fits several times
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]+")
_HEX = re.compile(rb"(?:0[xX])?(?:[0-9A-Fa-f]{2})+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")
_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")


class Kind(StrEnum):
    """What a piece of evidence is, as far as this version knows it."""

    QUOTE = "quote"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Untrusted bytes, and what they look like."""

    kind: Kind
    data: bytes = field(repr=False)


def recognise(data: bytes) -> Evidence:
    """A quote given raw, in hexadecimal, or in base64 of either alphabet (white space and `0x` are ignored).

    Raises:
        Malformed: `evidence-size`, `evidence-empty`, `evidence-not-supported`, `evidence-unknown`.
    """
    if len(data) > MAX_SIZE:
        raise Malformed("evidence-size", f"The evidence has more than {MAX_SIZE} bytes; no quote has.")
    if not data.strip():
        raise Malformed("evidence-empty", "The evidence is empty.")
    if not _TEXT.fullmatch(data):
        return Evidence(Kind.QUOTE, data)
    _refuse_later_kinds(data.strip())
    return Evidence(Kind.QUOTE, _decode(b"".join(data.split())))


def _refuse_later_kinds(text: bytes) -> None:
    what = ""
    if text.startswith(b"-----BEGIN"):
        what = "a certificate or key in PEM"
    elif _TOKEN.fullmatch(text):
        what = "a signed token"
    elif text.startswith(b"https://"):
        what = "the address of a server"
    elif text.startswith((b"{", b"[")):
        what = "a JSON document"
    if what:
        raise Malformed(
            "evidence-not-supported",
            f"This is {what}, which this version does not verify.",
            "Give an SGX quote: raw, hexadecimal or base64.",
        )


def _decode(text: bytes) -> bytes:
    if _HEX.fullmatch(text):
        return binascii.unhexlify(text[2:] if text[:2].lower() == b"0x" else text)
    if _BASE64.fullmatch(text):
        bare = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
        except binascii.Error:
            pass
    raise Malformed(
        "evidence-unknown",
        "This is no evidence that is known: neither raw bytes, hexadecimal, nor base64.",
        "Give an SGX quote: raw, hexadecimal or base64.",
    )
