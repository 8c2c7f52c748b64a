"""What an enclave asks of its processor, and the answers (architecture.md, section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kloister.errors import Denied, KloisterError, Malformed
from kloister.formats.protocol import typed
from kloister.formats.wire import b64url

REPORT_DATA = 64  # bytes, SDM volume 3D, REPORTDATA
TARGET_INFO = 512  # bytes, SDM volume 3D, TARGETINFO
KEY_REQUEST = 512  # bytes, SDM volume 3D, KEYREQUEST
_WHAT = "tee"


@dataclass(frozen=True, slots=True)
class QuoteRequest:
    """A DCAP quote over 64 bytes of report data."""

    report_data: bytes

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"op": "quote", "reportData": b64url(self.report_data)}


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """EREPORT for a target (512 bytes) over 64 bytes of report data."""

    target_info: bytes
    report_data: bytes

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"op": "report", "targetInfo": b64url(self.target_info), "reportData": b64url(self.report_data)}


@dataclass(frozen=True, slots=True)
class TargetInfoRequest:
    """The TARGETINFO that names the asking enclave."""

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"op": "targetInfo"}


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """EGETKEY with a KEYREQUEST (512 bytes)."""

    request: bytes

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"op": "key", "request": b64url(self.request)}


Request = QuoteRequest | ReportRequest | TargetInfoRequest | KeyRequest


def parse_request(message: Mapping[str, Any]) -> Request:
    """The request that a decoded frame holds.

    Raises:
        Malformed: `tee-*`.
    """
    match message.get("op"):
        case "quote":
            typed.only(message, {"op", "reportData"}, _WHAT)
            return QuoteRequest(typed.octets(message, "reportData", _WHAT, REPORT_DATA))
        case "report":
            typed.only(message, {"op", "targetInfo", "reportData"}, _WHAT)
            return ReportRequest(
                typed.octets(message, "targetInfo", _WHAT, TARGET_INFO),
                typed.octets(message, "reportData", _WHAT, REPORT_DATA),
            )
        case "targetInfo":
            typed.only(message, {"op"}, _WHAT)
            return TargetInfoRequest()
        case "key":
            typed.only(message, {"op", "request"}, _WHAT)
            return KeyRequest(typed.octets(message, "request", _WHAT, KEY_REQUEST))
    raise Malformed("tee-op", "The enclave's socket knows the requests quote, report, targetInfo and key.")


def answer(name: str, value: bytes) -> dict[str, Any]:
    """The answer `{name: bytes}`."""
    return {name: b64url(value)}


def refusal(error: KloisterError) -> dict[str, Any]:
    """The answer that says why not."""
    return {"error": error.as_json()}


def parse_answer(message: Mapping[str, Any], name: str) -> bytes:
    """The bytes of an answer.

    Raises:
        Denied: the platform's refusal, with its code, text and hint.
        Malformed: `tee-*`.
    """
    raise_refusal(message, _WHAT)
    typed.only(message, {name}, _WHAT)
    return typed.octets(message, name, _WHAT)


def raise_refusal(message: Mapping[str, Any], what: str) -> None:
    """Raise what `refusal` built, if the message is one.

    Raises:
        Denied: with the code, text and hint of the other side.
        Malformed: `{what}-*`.
    """
    if "error" not in message:
        return
    error = typed.mapping(message, "error", what, 3)
    code, text, hint = (typed.text(error, name, what, 16 * 1024) for name in ("code", "text", "hint"))
    raise Denied(code, text, hint)
