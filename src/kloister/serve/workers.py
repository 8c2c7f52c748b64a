"""Several processes on one address: each has a socket of its own, over which the kernel spreads connections."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from kloister import clock
from kloister.services.broker.binding import bind_tcp

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LEAST_LIFE = 1.0  # seconds: a worker that ends sooner is not started again, for it would end again
Work = Callable[[socket.socket, int], None]  # a socket and its number


def bind(address: str, count: int) -> list[socket.socket]:
    """Listening sockets, one for each worker. Raises `Misconfigured`: `listen-address`, `port-in-use`."""
    first = bind_tcp(address)
    if count == 1:
        return [first]
    name, family = first.getsockname(), first.family
    first.close()  # it has shown that nobody else listens there: with SO_REUSEPORT that would not be seen
    return [_shared(family, name) for _ in range(count)]


def run(sockets: list[socket.socket], work: Work) -> None:
    """Run a worker on each socket until SIGTERM or SIGINT; one that ends by itself is started again.

    With one socket the work is done in this process.
    """
    if len(sockets) == 1:
        work(sockets[0], 0)
        return
    _Supervisor(sockets, work).run()


def _shared(family: int, name: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(name)
    sock.listen(1024)
    sock.setblocking(False)
    return sock


class _Supervisor:
    """The parent of the workers."""

    def __init__(self, sockets: list[socket.socket], work: Work) -> None:
        self._sockets = sockets
        self._work = work
        self._workers: dict[int, tuple[int, float]] = {}  # pid -> number of its socket, when it began
        self._stopping = False

    def run(self) -> None:
        for name in _SIGNALS:
            signal.signal(name, self._stop)
        for number in range(len(self._sockets)):
            self._start(number)
        while self._workers:
            pid, _ = os.wait()
            number, begun = self._workers.pop(pid)
            if self._stopping:
                continue
            if clock.monotonic() - begun < _LEAST_LIFE:
                self._stop(signal.SIGTERM, None)
            else:
                self._start(number)

    def _start(self, number: int) -> None:
        """Unless all are to stop; a signal that comes meanwhile waits until the new one is known, and can be told."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if self._stopping:
                return
            pid = os.fork()
            if pid == 0:
                self._live(number, before)
            self._workers[pid] = (number, clock.monotonic())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _live(self, number: int, mask: Iterable[int]) -> NoReturn:
        """All that the worker does."""
        status = 1
        try:
            for name in _SIGNALS:
                signal.signal(name, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._work(self._sockets[number], number)
            status = 0
        finally:
            os._exit(status)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        for pid in self._workers:
            with suppress(ProcessLookupError):  # it has ended, and was waited for in this moment
                os.kill(pid, signal.SIGTERM)
