from __future__ import annotations

import logging
import os
import selectors
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from kloister.errors import KloisterError, Malformed, Misused
from kloister.formats.protocol.frames import Decoder, encode
from kloister.formats.protocol.tee import refusal
from kloister.tee.simulated.identity import ROOM, Credentials, credentials

_CHUNK = 64 * 1024  # bytes of one recvmsg
_BACKLOG = 32 * 1024 * 1024  # bytes that a peer may leave unread before it is dropped: two of the largest frames
_MOST_PASSED = 128  # descriptors of one message, as in framing.py

Message = dict[str, Any]
_LOG = logging.getLogger("kloister.platform")


class Handler(Protocol):
    """What a connection serves."""

    what: str  # name of the protocol, for error codes
    limit: int  # bytes of the greatest frame, both ways

    def check(self, who: Credentials) -> None:
        """See the sender of a chunk before a byte of it counts; raise `KloisterError` to refuse and end."""

    def message(self, connection: Connection, message: Message, passed: list[int]) -> None:
        """Serve a message; the descriptors are the handler's to close. A `KloisterError` is sent as a refusal."""

    def closed(self) -> None:
        """The connection is over, whoever ended it; called once."""


class Connection:
    """One stream socket inside the daemon's loop: never blocks, and drops the peer rather than fail.

    Args:
        selector: the loop; the data of each registration is a callable that takes the ready events.
        sock: a connected stream socket, owned from now on.
        handler: what is served.
    """

    def __init__(self, selector: selectors.BaseSelector, sock: socket.socket, handler: Handler) -> None:
        sock.setblocking(False)
        self._selector = selector
        self._sock = sock
        self._handler = handler
        self._decoder = Decoder(handler.limit, handler.what)
        self._passed: list[int] = []
        self._out: deque[memoryview] = deque()
        self._ending = False
        self.open = True
        selector.register(sock, selectors.EVENT_READ, self._ready)

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue one frame; on a closed or ending connection nothing happens."""
        if not self.open or self._ending:
            return
        self._out.append(memoryview(encode(message, self._handler.limit)))
        if sum(map(len, self._out)) > _BACKLOG:
            self.close()
        else:
            self._write()

    def finish(self) -> None:
        """Read nothing more, send what is queued, then close."""
        self._ending = True
        if self.open:
            self._write()

    def close(self) -> None:
        """Close now; what is queued is lost."""
        if not self.open:
            return
        self.open = False
        self._selector.unregister(self._sock)
        self._sock.close()
        self._drop_passed()
        self._handler.closed()

    def _ready(self, events: int) -> None:
        if self.open and events & selectors.EVENT_WRITE:  # an earlier event of the same turn may have closed it
            self._write()
        try:
            if self.open and events & selectors.EVENT_READ:
                self._read()
        except Exception:  # noqa: BLE001 (one request must not end everyone's platform)
            _LOG.exception("a request on the %s socket failed in a way that it should not", self._handler.what)
            self.send(refusal(_internal()))
            self.finish()

    def _read(self) -> None:
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(_CHUNK, ROOM, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        who = credentials(ancillary)
        if self._ending or not data or flags & socket.MSG_CTRUNC:
            who.close()
            if not data or flags & socket.MSG_CTRUNC:
                self.close()
            return
        try:
            self._accept(who, data)
            self._serve()
        except KloisterError as error:
            self.send(refusal(error))
            self.finish()

    def _accept(self, who: Credentials, data: bytes) -> None:
        try:
            self._handler.check(who)
        except KloisterError:
            who.close()
            raise
        if who.pidfd is not None:
            os.close(who.pidfd)
        self._passed += who.passed
        if len(self._passed) > _MOST_PASSED:
            raise Malformed(f"{self._handler.what}-descriptors", f"At most {_MOST_PASSED} descriptors can be passed.")
        self._decoder.feed(data)

    def _serve(self) -> None:
        while self.open and not self._ending and (message := self._decoder.take()) is not None:
            passed, self._passed = self._passed, []
            try:
                self._handler.message(self, message, passed)
            except KloisterError as error:
                self.send(refusal(error))

    def _write(self) -> None:
        try:
            while self._out:
                sent = self._sock.send(self._out[0], socket.MSG_NOSIGNAL)
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                else:
                    self._out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._ending and not self._out:
            self.close()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._selector.modify(self._sock, wanted, self._ready)

    def _drop_passed(self) -> None:
        for descriptor in self._passed:
            os.close(descriptor)
        self._passed = []


def _internal() -> Misused:
    return Misused("platform-internal", "The platform failed while it served this.", "Its log says where; report it.")
