"""Sockets, and who may speak on them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

FIRST_REQUEST_SECONDS = 20.0  # a connection that has asked nothing by then is closed
ANSWER_SECONDS = 120.0  # so is one that has had no answer for so long: uvicorn's clocks stop when any byte comes
REST_SECONDS = 5  # and one that asks nothing more after an answer, where nothing else is said
GRACE_SECONDS = 3  # for requests under way when the service ends
MAX_CONNECTIONS = 512  # of one listener, where nothing else is said
MAX_HEAD = 16 * 1024  # bytes of a request's line and headers
_UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
_FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Pace:
    """The clocks of one connection: a request must come in time, and answers must go out; begun ones do not count.

    Args:
        loop: the loop.
        transport: ended when a clock runs out.
        asked: whether there was a request yet.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, asked: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._asked = asked
        self._first = loop.call_later(FIRST_REQUEST_SECONDS, self._hurry)
        self._last = loop.time()  # answer
        self._next = loop.call_later(ANSWER_SECONDS, self._look)

    def answered(self) -> None:
        """An answer is out."""
        self._last = self._loop.time()

    def stop(self) -> None:
        """The connection is over."""
        self._first.cancel()
        self._next.cancel()

    def _look(self) -> None:
        """End the connection, unless there was an answer meanwhile: one timer does for many of them."""
        left = self._last + ANSWER_SECONDS - self._loop.time()
        if left > 0:
            self._next = self._loop.call_later(left, self._look)
        else:
            self._transport.abort()

    def _hurry(self) -> None:
        if not self._asked():
            self._transport.abort()


class TimelyProtocol(H11Protocol):
    """HTTP/1.1 whose requests must come in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept the connection and start its clocks."""
        super().connection_made(transport)
        self._pace = Pace(self.loop, transport, lambda: self.cycle is not None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop them."""
        self._pace.stop()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """An answer is out."""
        self._pace.answered()
        super().on_response_complete()


class OwnerProtocol(TimelyProtocol):
    """HTTP on a Unix socket for processes of this user and of root: asked of the kernel, not of the message."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Look at SO_PEERCRED before anything is read."""
        super().connection_made(transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        self.client = (f"uid:{uid}", 0)
        if uid not in (os.geteuid(), 0):
            transport.write(_FORBIDDEN)
            transport.close()


class CertificateProtocol(TimelyProtocol):
    """HTTP over mutual TLS: the client is who its certificate names."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the name from the certificate that the handshake verified."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert") or {}
        names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
        self.client = (f"cn:{names[0] if names else 'unnamed'}", 0)


def peer_uid(sock: Any) -> int:
    """The user id of the process at the other end of a connected Unix socket."""
    uid: int = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]
    return uid


class Listener(uvicorn.Server):
    """One interface on one socket; signals are left to the process.

    Args:
        app: what answers.
        sock: a listening socket.
        protocol: who may speak.
        context: TLS, or None on a Unix socket.
        connections: at most; the next ones get 503.
        rest: seconds that a connection may have nothing to ask after an answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        sock: socket.socket,
        protocol: type[asyncio.Protocol],
        context: ssl.SSLContext | None,
        connections: int = MAX_CONNECTIONS,
        rest: int = REST_SECONDS,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # a header must not say who the peer is
                server_header=False,
                limit_concurrency=connections,
                timeout_keep_alive=rest,
                timeout_graceful_shutdown=GRACE_SECONDS,
                h11_max_incomplete_event_size=MAX_HEAD,
                ssl_context_factory=None if context is None else lambda _config, _default: context,
            )
        )
        self._sock = sock

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the process's signal handlers alone."""
        yield

    async def listen(self) -> None:
        """Serve until `should_exit` is set."""
        await self.serve(sockets=[self._sock])
        for connection in tuple(self.server_state.connections):  # whose client has not confirmed the end of TLS
            connection.transport.abort()
        await asyncio.sleep(0)  # and they are closed


def server_context(certificate: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """TLS 1.3 with the certificate; with `clients`, only for holders of certificates under that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
