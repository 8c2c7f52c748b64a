from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from kloister.errors import Malformed
from kloister.formats.protocol import aesm
from kloister.kubernetes.node.quotes.callers import Caller
from kloister.kubernetes.node.quotes.limits import Account

_CHUNK = 4096  # bytes of one read; a request has about 700


class Exchange:
    """One connection: a request comes in, an answer goes out, and it is over.

    It works on the socket itself: asyncio's streams would take half of the time that a quote takes.

    Args:
        sock: accepted, non-blocking; owned from now on.
        caller: who connected.
        account: what the caller has of the helper.
        deadline: when a part of it is overdue, by the clock of `asyncio`'s loop.
        whole: called with the request's message.
        over: called once when the connection is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        caller: Caller,
        account: Account,
        deadline: float,
        whole: Callable[[Exchange, bytes], None],
        over: Callable[[Exchange], None],
    ) -> None:
        self.caller = caller
        self.account = account
        self.deadline: float | None = deadline  # None while the backend works
        self.task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = sock
        self._watched = False
        self._asked = False
        self._held = bytearray()
        self._out = memoryview(b"")
        self._whole = whole
        self._over = over

    def begin(self) -> None:
        """Read what is there already; a client usually sends before it is accepted."""
        self._read()
        if not self._asked:
            self._watch(self._loop.add_reader, self._read)

    def answer(self, body: bytes, deadline: float) -> None:
        """Send the answer, then close; the client has until the deadline to take it."""
        if self._sock is not None:
            self.deadline = deadline
            self._out = memoryview(aesm.frame(body))
            self._write()
            self._watch(self._loop.add_writer, self._write)

    def close(self) -> None:
        """End it in whatever state it is."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._ignore(sock)
        sock.close()
        if self.task is not None:
            self.task.cancel()
        self._over(self)

    def _watch(self, add: Callable[[int, Callable[[], None]], object], then: Callable[[], None]) -> None:
        if self._sock is not None:
            add(self._sock.fileno(), then)  # by number: the loop prints what it does not find, and sockets print slowly
            self._watched = True

    def _ignore(self, sock: socket.socket) -> None:
        if self._watched:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
            self._watched = False

    def _read(self) -> None:
        if self._sock is None:
            return
        try:
            chunk = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return
        self._held += chunk
        if len(self._held) >= aesm.PREFIX:
            self._complete()

    def _complete(self) -> None:
        try:
            size = aesm.frame_size(bytes(self._held[: aesm.PREFIX]), aesm.REQUEST_LIMIT)
        except Malformed:
            self.close()
            return
        if len(self._held) >= aesm.PREFIX + size and self._sock is not None:
            self._ignore(self._sock)
            self._asked, self.deadline = True, None
            self._whole(self, bytes(self._held[aesm.PREFIX : aesm.PREFIX + size]))

    def _write(self) -> None:
        if self._sock is None:
            return
        try:
            self._out = self._out[self._sock.send(self._out, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            return
        except OSError:
            self._out = memoryview(b"")
        if not self._out:
            self.close()
