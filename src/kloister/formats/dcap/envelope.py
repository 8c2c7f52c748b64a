"""The JSON around a signed document: `{"tcbInfo":<the signed bytes>,"signature":"<hex>"}` (Intel PCS API v3 and v4)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Self

from kloister.errors import Malformed

TCB_INFO = "tcbInfo"
ENCLAVE_IDENTITY = "enclaveIdentity"
MAX_SIZE = 1024 * 1024  # bytes; Intel's answers have 10 to 60 KiB
_SPACE = r"[ \t\n\r]*"  # RFC 8259, section 2; `_` in the two below
_OPEN = re.compile(r'_\{_"([A-Za-z]{1,32})"_:_'.replace("_", _SPACE))
_CLOSE = re.compile(r'_,_"signature"_:_"([0-9A-Fa-f]{128})"_\}_'.replace("_", _SPACE))
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Envelope:
    """A document and its signature, neither judged.

    Attributes:
        name: `tcbInfo` or `enclaveIdentity`.
        text: the exact signed text; parsing and building it again would break the signature.
        signature: hexadecimal r and s, 128 digits.
    """

    name: str
    text: str = field(repr=False)
    signature: str

    @classmethod
    def parse(cls, data: bytes, name: str) -> Self:
        """Take the answer of a PCS apart without touching the signed bytes.

        Raises:
            Malformed: `envelope-size`, `envelope-json`.
        """
        if len(data) > MAX_SIZE:
            raise Malformed("envelope-size", f"The answer has {len(data)} bytes; at most {MAX_SIZE} are read.")
        try:
            text, signature = _split(data.decode("ascii"), name)
        except (ValueError, RecursionError):
            raise Malformed("envelope-json", f"The answer is not a signed {name} as Intel's PCS sends it.") from None
        return cls(name, text, signature)

    def build(self) -> bytes:
        """The answer of a PCS."""
        return f'{{"{self.name}":{self.text},"signature":"{self.signature}"}}'.encode("ascii")


def _split(text: str, name: str) -> tuple[str, str]:
    """Signed text and signature; `ValueError` where the object has not exactly this form."""
    opened = _OPEN.match(text)
    if opened is None or opened[1] != name:
        raise ValueError(name)
    value, end = _DECODER.raw_decode(text, opened.end())
    closed = _CLOSE.fullmatch(text, end)
    if closed is None or not isinstance(value, dict):
        raise ValueError(name)
    return text[opened.end() : end], closed[1]
