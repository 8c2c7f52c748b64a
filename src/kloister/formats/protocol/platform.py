"""What a user asks of the simulated platform, on its control socket (architecture.md, section 9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from kloister.errors import Malformed
from kloister.formats.protocol import typed
from kloister.formats.protocol.allocations import Allocate, Release
from kloister.formats.protocol.host import Host
from kloister.formats.protocol.quoting import QuoteReport, ReportContent
from kloister.formats.protocol.spawner import MANIFEST_LIMIT, MAX_MOUNTS
from kloister.formats.protocol.tee import REPORT_DATA
from kloister.formats.wire import b64url

DESCRIPTORS = ("pack", "stdin", "stdout", "stderr")
"""The descriptors of `launch`, followed by one per mount in the order of the sorted names."""

CONTENT_LIMIT = 8 * 1024 * 1024  # bytes; the content of a `quoteContent` becomes measured pages of an enclave
_SIGSTRUCT = 1808  # bytes, SDM volume 3D, SIGSTRUCT
_WHAT = "platform"


@dataclass(frozen=True, slots=True)
class Plain:
    """A question without arguments, one of `_PLAIN`."""

    op: str

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"op": self.op}


@dataclass(frozen=True, slots=True)
class QuoteContent:
    """A quote of an enclave whose measured content is `content`, over 64 bytes of report data."""

    content: bytes
    report_data: bytes

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"op": "quoteContent", "content": b64url(self.content), "reportData": b64url(self.report_data)}


@dataclass(frozen=True, slots=True)
class Launch:
    """Build the enclave of a manifest and run it.

    Attributes:
        manifest: the exact bytes to measure.
        sigstruct: 1808 bytes.
        debug: sets ATTRIBUTES.DEBUG; the SIGSTRUCT must allow it.
        host: what the host says; never trusted.
    """

    manifest: bytes
    sigstruct: bytes
    debug: bool = False
    host: Host = field(default_factory=Host)

    @property
    def mounts(self) -> tuple[str, ...]:
        """Names of the mounts in the order of their descriptors."""
        return tuple(sorted(self.host.mounts))

    def build(self) -> dict[str, Any]:
        """The message."""
        return {
            "op": "launch",
            "manifest": b64url(self.manifest),
            "sigstruct": b64url(self.sigstruct),
            "debug": self.debug,
            "host": self.host.build(),
        }


Request = Plain | QuoteContent | QuoteReport | ReportContent | Launch | Allocate | Release


def parse_request(message: Mapping[str, Any]) -> Request:
    """The request that a decoded frame holds.

    Raises:
        Malformed: `platform-*`, `host-*`.
    """
    op = message.get("op")
    if op in _PLAIN:
        typed.only(message, {"op"}, _WHAT)
        return Plain(op)
    parser = _PARSERS.get(op) if isinstance(op, str) else None
    if parser is None:
        raise Malformed("platform-op", f"The platform knows the requests {', '.join((*_PLAIN, *_PARSERS))}.")
    return parser(message)


def _quote_content(message: Mapping[str, Any]) -> QuoteContent:
    typed.only(message, {"op", "content", "reportData"}, _WHAT)
    return QuoteContent(
        typed.octets(message, "content", _WHAT, limit=CONTENT_LIMIT),
        typed.octets(message, "reportData", _WHAT, REPORT_DATA),
    )


def _report_content(message: Mapping[str, Any]) -> ReportContent:
    return ReportContent.parse(message, CONTENT_LIMIT)


def _launch(message: Mapping[str, Any]) -> Launch:
    typed.only(message, {"op", "manifest", "sigstruct", "debug", "host"}, _WHAT)
    host = Host.parse(typed.mapping(message, "host", _WHAT, 16))
    if len(host.mounts) > MAX_MOUNTS:
        raise Malformed("platform-mounts", f"At most {MAX_MOUNTS} named mounts can be given to one enclave.")
    return Launch(
        manifest=typed.octets(message, "manifest", _WHAT, limit=MANIFEST_LIMIT),
        sigstruct=typed.octets(message, "sigstruct", _WHAT, _SIGSTRUCT),
        debug=typed.flag(message, "debug", _WHAT),
        host=host,
    )


_PLAIN = ("status", "root", "collateral", "earlyCollateral", "qeTargetInfo", "allocations")
_PARSERS: Mapping[str, Callable[[Mapping[str, Any]], Request]] = MappingProxyType(
    {
        "quoteContent": _quote_content,
        "quoteReport": QuoteReport.parse,
        "reportContent": _report_content,
        "launch": _launch,
        "allocate": Allocate.parse,
        "release": Release.parse,
    }
)


def signal(number: int) -> dict[str, Any]:
    """The message that passes a signal on to a running enclave."""
    return {"op": "signal", "number": number}


def parse_signal(message: Mapping[str, Any]) -> int:
    """The number of a signal, 1 to 64.

    Raises:
        Malformed: `platform-*`.
    """
    typed.only(message, {"op", "number"}, _WHAT)
    if message.get("op") != "signal":
        raise Malformed("platform-op", "While an enclave runs, only signals can be sent to it.")
    return typed.integer(message, "number", _WHAT, 1, 64)
