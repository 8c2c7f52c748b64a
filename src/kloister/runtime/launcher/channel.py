"""What the launcher tells pid 1 (architecture.md 8): phases, remarks, its refusal, the seccomp listener."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any, Self

from kloister.clock import monotonic
from kloister.errors import KloisterError
from kloister.formats.protocol.events import Log, Phase, Refused

INIT = 5  # the descriptor of the init socket, SOCK_SEQPACKET: one message, one JSON object


class Channel:
    """Sends events over the init socket; without one (another target, or no pid 1) refusals go to stderr.

    Pid 1 being gone is no reason to stop here: it takes its pid namespace, and so this process, with it.
    """

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock
        self._since = monotonic()

    @classmethod
    def inherited(cls, descriptor: int = INIT) -> Self:
        """The channel on the descriptor that the runner left open; it closes by itself at execve."""
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            return cls(None)
        sock.set_inheritable(False)
        return cls(sock)

    @property
    def descriptor(self) -> int | None:
        """The number that must stay open until execve."""
        return None if self._socket is None else self._socket.fileno()

    def started(self) -> None:
        """Report what came before the first line of ours: loader, interpreter, imports (processor time, no waits)."""
        self._send(Phase("interpreter", int(time.process_time() * 1_000_000)).build())

    def phase(self, name: str) -> None:
        """The phase `name` has just ended; it lasted since the one before."""
        now = monotonic()
        self._send(Phase(name, int((now - self._since) * 1_000_000)).build())
        self._since = now

    def log(self, text: str) -> None:
        """A line for the operator; never a secret."""
        self._send(Log(text).build())

    def refuse(self, error: KloisterError) -> None:
        """Say why the application does not start."""
        if self._socket is None:
            print(f"kloister: {error}", file=sys.stderr)  # noqa: T201 -- nobody else is there to tell
        self._send(Refused(error.code, error.text, error.hint).build())

    def listener(self, descriptor: int) -> None:
        """Hand the listener of the seccomp filter to pid 1, which answers the calls that it reports."""
        if self._socket is not None:
            socket.send_fds(self._socket, [b'{"event":"listener"}'], [descriptor])
        os.close(descriptor)

    def _send(self, message: dict[str, Any]) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError:
            self._socket = None
