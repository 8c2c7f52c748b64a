"""The platform's daemon: one thread, one loop, all keys."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from kloister.tee.simulated import identity, notice
from kloister.tee.simulated.control import Control
from kloister.tee.simulated.launch import Surroundings
from kloister.tee.simulated.ports import Platform
from kloister.tee.simulated.spawning import SpawnerLink
from kloister.tee.simulated.store import Store

_LOG = logging.getLogger("kloister.platform")


class Daemon:
    """Serves a platform on the store's control socket until it is told to stop.

    Args:
        store: the open state; closed by `run`.
        platform: plays the CPU and its quoting enclaves.
        spawner: forked before the platform was read; closed by `run`.
        listener: the listening control socket.
        apart: whether this daemon has a user of its own.
    """

    def __init__(
        self, store: Store, platform: Platform, spawner: SpawnerLink, listener: socket.socket, *, apart: bool = False
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._store = store
        self._spawner = spawner
        self._platform = platform
        self._apart = apart
        self._mechanism = identity.mechanism()
        self._stopping = False
        around = Surroundings(self._selector, platform, spawner, store, self._mechanism)
        allowed = frozenset({0, store.owner, os.geteuid()})
        self._control = Control(around, listener, allowed, self.status)

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, then kill the enclaves and remove the sockets.

        Args:
            ready: called when requests are answered from now on.
        """
        try:
            with self._signals():
                ready()
                while not self._stopping:
                    self._turn()
        finally:
            self._control.close()
            self._selector.close()
            self._spawner.close()
            self._store.close()

    def status(self) -> dict[str, Any]:
        """Public figures of the platform, its enclaves, and how callers are told apart."""
        return {
            **self._platform.status(),
            "simulated": True,
            "pid": os.getpid(),
            "identity": self._mechanism,
            "enclaves": [
                *({"enclave": launch.name, "mrenclave": launch.mrenclave.hex()} for launch in self._control.launches),
                *(
                    {"enclave": one.enclave, "mrenclave": one.mrenclave}
                    for one in self._control.allocations
                    if one.enclave
                ),
            ],
            "notHeld": self.not_held(),
        }

    def not_held(self) -> list[str]:
        """What this installation does not keep apart, in sentences."""
        return [
            notice.SIMULATED,
            *([] if self._apart else [notice.NOT_HELD_AS_ONE_USER]),
            *([notice.INHERITED_SOCKET_ONLY] if self._mechanism == identity.INHERITED_ONLY else []),
        ]

    def _turn(self) -> None:
        for key, ready in self._selector.select():
            try:
                key.data(ready)
            except Exception:  # noqa: BLE001 (one request must not end everyone's platform)
                _LOG.exception("a request failed in a way that it should not")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn SIGTERM and SIGINT into an event of the loop."""
        woken, waking = socket.socketpair()
        waking.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, lambda _ready: self._stop(woken.recv(1)))
        before = signal.set_wakeup_fd(waking.fileno())
        handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._selector.unregister(woken)
            woken.close()
            waking.close()

    def _stop(self, numbers: bytes) -> None:
        """Whoever reads the log of a daemon that ended must be able to tell that it was told to."""
        _LOG.info("stopping: %s came", ", ".join(signal.Signals(number).name for number in numbers))
        self._stopping = True
