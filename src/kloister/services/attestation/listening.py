"""Who may speak, and for how long: HTTP over TLS 1.2 or later."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kloister.errors import Misconfigured
from kloister.services.broker.listeners import Pace

MAX_HEAD = 32 * 1024  # bytes of a request's line and headers; bearer tokens have 3 KiB, some 10
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
    """HTTP/1.1 whose requests must come in time, and whose heads have a limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept the connection and start its clocks."""
        super().connection_made(cast("asyncio.Transport", Joined(transport, self.loop)))
        self._head = 0
        self._in_head = True
        self._pace = Pace(self.loop, transport, lambda: self.cycle is not None)

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

    def on_header(self, name: bytes, value: bytes) -> None:
        """Leave out what comes behind a body in pieces (RFC 9112, 7.1.2): nobody reads it, and it has no limit."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Another head may follow."""
        self._in_head, self._head = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out."""
        self._pace.answered()
        super().on_response_complete()


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
