"""Quotes for reports that others made, as AESM's clients ask for them (architecture.md, sections 9 and 14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kloister.formats.protocol import typed
from kloister.formats.protocol.tee import REPORT_DATA, TARGET_INFO
from kloister.formats.wire import b64url

REPORT = 432  # bytes, SDM 3D, 35.15
NONCE = 16  # bytes, sgx_quote_nonce_t
KEY_ID = 32  # bytes: SHA-256 of the attestation key and the QE's authentication data
_MOST_QUOTE = 64 * 1024  # bytes; a quote with its PCK chain has about 5,000
_WHAT = "platform"


@dataclass(frozen=True, slots=True)
class QuoteReport:
    """A quote for a REPORT that was made for the QE; the connection stays open for more of them.

    Attributes:
        report: 432 bytes.
        nonce: 16 bytes, with `target`: a report of the QE over nonce and quote is wanted too.
        target: TARGETINFO of who checks the QE's report, 512 bytes.
    """

    report: bytes
    nonce: bytes | None = None
    target: bytes | None = None

    def build(self) -> dict[str, Any]:
        """The message."""
        message = {"op": "quoteReport", "report": b64url(self.report)}
        if self.nonce is not None and self.target is not None:
            message |= {"nonce": b64url(self.nonce), "targetInfo": b64url(self.target)}
        return message

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """Raises `Malformed`: `platform-*`."""
        report = typed.octets(message, "report", _WHAT, REPORT)
        if not message.keys() & {"nonce", "targetInfo"}:
            typed.only(message, {"op", "report"}, _WHAT)
            return cls(report)
        typed.only(message, {"op", "report", "nonce", "targetInfo"}, _WHAT)
        nonce = typed.octets(message, "nonce", _WHAT, NONCE)
        return cls(report, nonce, typed.octets(message, "targetInfo", _WHAT, TARGET_INFO))


@dataclass(frozen=True, slots=True)
class ReportContent:
    """EREPORT of an enclave whose measured content is `content`, for `target` (512 bytes), over 64 bytes of data."""

    content: bytes
    target: bytes
    report_data: bytes

    def build(self) -> dict[str, Any]:
        """The message."""
        return {
            "op": "reportContent",
            "content": b64url(self.content),
            "targetInfo": b64url(self.target),
            "reportData": b64url(self.report_data),
        }

    @classmethod
    def parse(cls, message: Mapping[str, Any], limit: int) -> Self:
        """With content of at most `limit` bytes. Raises `Malformed`: `platform-*`."""
        typed.only(message, {"op", "content", "targetInfo", "reportData"}, _WHAT)
        return cls(
            typed.octets(message, "content", _WHAT, limit=limit),
            typed.octets(message, "targetInfo", _WHAT, TARGET_INFO),
            typed.octets(message, "reportData", _WHAT, REPORT_DATA),
        )


@dataclass(frozen=True, slots=True)
class QeInfo:
    """What clients need of the quoting enclave before they ask for a quote: the answer to `qeTargetInfo`."""

    target_info: bytes  # 512 bytes: who a report to quote is made for
    key_id: bytes  # 32 bytes: names the attestation key
    quote_size: int  # bytes of each quote

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"targetInfo": b64url(self.target_info), "keyId": b64url(self.key_id), "quoteSize": self.quote_size}

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """Raises `Malformed`: `platform-*`."""
        typed.only(message, {"targetInfo", "keyId", "quoteSize"}, _WHAT)
        return cls(
            typed.octets(message, "targetInfo", _WHAT, TARGET_INFO),
            typed.octets(message, "keyId", _WHAT, KEY_ID),
            typed.integer(message, "quoteSize", _WHAT, 1, _MOST_QUOTE),
        )


@dataclass(frozen=True, slots=True)
class Quoted:
    """A quote and, where it was asked for, the QE's report: SHA-256 of nonce and quote as its data."""

    quote: bytes = field(repr=False)
    qe_report: bytes | None = None  # 432 bytes

    def build(self) -> dict[str, Any]:
        """The message."""
        message = {"quote": b64url(self.quote)}
        return message if self.qe_report is None else message | {"qeReport": b64url(self.qe_report)}

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """Raises `Malformed`: `platform-*`."""
        typed.only(message, {"quote", "qeReport"}, _WHAT)
        quote = typed.octets(message, "quote", _WHAT, limit=_MOST_QUOTE)
        return cls(quote, typed.octets(message, "qeReport", _WHAT, REPORT) if "qeReport" in message else None)
