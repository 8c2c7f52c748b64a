"""Who may speak, and for how long: HTTP over TLS 1.2 or later."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kloister.errors import Misconfigured
from kloister.services.broker.listeners import Pace

MAX_HEAD = 32 * 1024  # bytes of a request's line and headers; bearer tokens have 3 KiB, some 10
Reply = tuple[int, Sequence[tuple[bytes, bytes]], bytes]  # status, headers, body
_ATTEST = b"/attest/"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Joined:
    """A transport whose writes of one turn of the loop go out together: an answer's head and body are one TLS record.

    Args:
        transport: the real one; what is not about writing is its own.
        loop: the loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep it until the turn is over."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def write_now(self, data: bytes) -> None:
        """Write it behind what is kept."""
        self._flush()
        self._transport.write(data)

    def close(self) -> None:
        """Write what is kept, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class AttestationProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose requests must come in time, and whose heads have a limit.

    What comes whole under `/attest/` is offered to the application's `at_once`, if it has one, before a task is made
    for it, which would take as long as to verify a signature.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept the connection and start its clocks."""
        self._joined = Joined(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._joined))
        self._at_once: Callable[..., Reply | None] | None = getattr(self.app, "at_once", None)
        self._held: list[bytes] | None = None  # the body of a request that may be answered at once
        self._head = 0
        self._in_head = True
        self._asked = False
        self._pace = Pace(self.loop, transport, lambda: self._asked)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop them."""
        self._pace.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the end of a head."""
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and b"\r\n\r\n" not in data:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)
        if self._held is not None:
            self._hand_over(self._held)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Leave out what comes behind a body in pieces (RFC 9112, 7.1.2): nobody reads it, and it has no limit."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._in_head, self._asked = False, True
        if self._at_once is not None and self.url.startswith(_ATTEST) and self._is_plain():
            self._held = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep what may be answered at once."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        """Another head may follow."""
        self._in_head, self._head = True, 0
        if self._held is not None and self._is_answered(b"".join(self._held)):
            self._held = None
            return
        if self._held is not None:
            self._hand_over(self._held)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out."""
        self._pace.answered()
        super().on_response_complete()

    def _is_plain(self) -> bool:
        """Whether there is nothing before this request, and nothing about it, that uvicorn must see to."""
        parser, limit = self.parser, self.limit_concurrency
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.expect_100_continue
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.flow.write_paused
            and (limit is None or max(len(self.connections), len(self.tasks)) < limit)
            and b"%" not in self.url
            and b"#" not in self.url
        )

    def _is_answered(self, body: bytes) -> bool:
        """Offer a whole request to the application."""
        path, _, query = self.url.partition(b"?")
        scope = cast("dict[str, Any]", self.scope)
        scope |= {"method": self.parser.get_method().decode("ascii"), "path": path.decode("latin-1")}
        scope["query_string"] = query
        answer = None if self._at_once is None else self._at_once(scope, body)
        if answer is None:
            return False
        status, headers, data = answer
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        self._joined.write_now(b"".join([STATUS_LINE[status], *lines, b"\r\n", data]))
        self.on_response_complete()
        return True

    def _hand_over(self, parts: list[bytes]) -> None:
        """Let uvicorn make a task of it, as of all other requests."""
        self._held = None
        super().on_headers_complete()
        for part in parts:
            super().on_body(part)


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later with the certificate. Raises `Misconfigured`: `tls-files`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            "tls-files",
            f"{certificate} and {key} are no certificate with its key: {error.strerror or error}.",
            "Name files in PEM that belong together, the key without a password.",
        ) from None
    return context
