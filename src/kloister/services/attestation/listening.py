"""Who may speak, and for how long: HTTP over TLS 1.2 or later."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kloister.errors import Misconfigured
from kloister.services.attestation.exchange import COUNTED
from kloister.services.attestation.heads import START, Head
from kloister.services.broker.listeners import Pace

MAX_HEAD = 32 * 1024  # bytes of a request's line and headers; bearer tokens have 3 KiB, some 10
Reply = tuple[int, bytes, bytes]  # status, lines of headers, body
_END = b"\r\n\r\n"
_MOMENT = 0.05  # seconds that a head waits for its body before the parser sees it
_MAX_KEPT = 64 * 1024  # bytes of such a body
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


class Rest:
    """Ends a connection that nobody has used for a while after an answer; one timer does for many answers.

    Args:
        loop: the loop.
        transport: closed then.
        seconds: of rest.
        busy: whether a request is under way, whose answer begins another rest.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float, busy: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._seconds = seconds
        self._busy = busy
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """An answer is out."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def stop(self) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        left = self._since + self._seconds - self._loop.time()
        if self._busy():
            return
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._transport.close()


class AttestationProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose requests must come in time, and whose heads have a limit.

    What comes whole and with a usual head is offered to the application's `at_once`, if it has one, before the HTTP
    parser has seen it and a task is made for it: both would take as long as to verify a signature. What is declined
    there, and all else, goes the usual way, to the same answers.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept the connection and start its clocks."""
        self._wire = transport
        self._joined = Joined(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._joined))
        self._at_once: Callable[[Head, str, bytes], Reply | None] | None = getattr(self.app, "at_once", None)
        self._held: tuple[Head, bytes, asyncio.TimerHandle] | None = None  # a head whose body has not come yet
        self._defaults: tuple[object, bytes] = (None, b"")  # uvicorn's headers, and as they are written
        self._under_way = False  # a message has begun and has not ended
        self._counted = False  # the next message was counted against its client's rate
        self._head = 0
        self._in_head = True
        self._asked = False
        self._rest = Rest(self.loop, transport, self.timeout_keep_alive, lambda: self._is_busy)
        self._pace = Pace(self.loop, transport, lambda: self._asked)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop them."""
        self._pace.stop()
        self._rest.stop()
        self._taken_up()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Answer at once, or let the parser read."""
        kept = self._taken_up()
        if kept is not None:
            head, data = kept[0], kept[1] + data
            if self._is_answered(head, data):
                return
        elif data.startswith(START) and self._is_free:
            found = Head.parse(data, MAX_HEAD)
            if found is not None and (self._is_answered(found, data) or self._is_kept(found, data)):
                return
        self._parse(data)

    def shutdown(self) -> None:
        """End when what has begun is answered, a request whose body has not come yet included."""
        self._let_go()
        super().shutdown()

    def on_message_begin(self) -> None:
        """A message begins."""
        self._under_way = True
        super().on_message_begin()
        if self._counted:
            self._counted = False
            cast("dict[str, Any]", self.scope)[COUNTED] = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Leave out what comes behind a body in pieces (RFC 9112, 7.1.2): nobody reads it, and it has no limit."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._in_head, self._asked = False, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Another head may follow."""
        self._in_head, self._head, self._under_way = True, 0, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out."""
        self._pace.answered()
        self._rest.begin()
        super().on_response_complete()

    def _parse(self, data: bytes) -> None:
        """Count what comes before the end of a head, and let uvicorn do the rest."""
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and _END not in data:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)

    @property
    def _is_busy(self) -> bool:
        """Whether a request has begun and was not answered."""
        waiting = self.cycle is not None and not self.cycle.response_complete
        return waiting or self._under_way or self._held is not None

    @property
    def _is_free(self) -> bool:
        """Whether there is nothing before the next request that must be seen to."""
        limit = self.limit_concurrency
        return (
            self._at_once is not None
            and not self._is_busy
            and not self.flow.write_paused
            and not self._wire.is_closing()
            and (limit is None or max(len(self.connections), len(self.tasks)) < limit)
        )

    def _is_answered(self, head: Head, data: bytes) -> bool:
        """Offer a whole request to the application."""
        if len(data) != head.size + head.length or self._at_once is None:
            return False
        client = self.client[0] if self.client else "unknown"
        answer = self._at_once(head, client, data[head.size :])
        if answer is None:
            self._counted = head.counted
            return False
        status, lines, body = answer
        self._joined.write_now(b"%b%b%b\r\n%b" % (STATUS_LINE[status], self._default_lines(), lines, body))
        self._asked = True
        self._unset_keepalive_if_required()
        self.server_state.total_requests += 1
        self._pace.answered()
        self._rest.begin()
        return True

    def _default_lines(self) -> bytes:
        """What uvicorn has every answer say, the time of the day among it: a new list every second."""
        headers = self.server_state.default_headers
        if self._defaults[0] is not headers:
            self._defaults = headers, b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._defaults[1]

    def _is_kept(self, head: Head, data: bytes) -> bool:
        """Wait a moment for a body of usual size: many clients send it by itself."""
        if len(data) != head.size or not 0 < head.length <= _MAX_KEPT:
            return False
        self._held = head, data, self.loop.call_later(_MOMENT, self._let_go)
        return True

    def _taken_up(self) -> tuple[Head, bytes] | None:
        """What was kept, and is no longer."""
        if self._held is None:
            return None
        head, data, timer = self._held
        timer.cancel()
        self._held = None
        return head, data

    def _let_go(self) -> None:
        """The moment is over."""
        kept = self._taken_up()
        if kept is not None:
            self._parse(kept[1])


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
