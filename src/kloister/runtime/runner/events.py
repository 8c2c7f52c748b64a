"""How the processes of one sandbox report: one message of a socket pair is one event as JSON."""

from __future__ import annotations

import json
import socket
from typing import Any

from kloister.clock import monotonic
from kloister.errors import KloisterError
from kloister.formats.protocol.events import Event, Phase, Refused

MESSAGE_LIMIT = 64 * 1024  # bytes of one message: the longest log line, escaped


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def post(sock: socket.socket, message: dict[str, Any] | Event) -> None:
    """Send one message; if nobody listens any more, the sender is about to be killed anyway."""
    body = message if isinstance(message, dict) else message.build()
    try:
        sock.send(json.dumps(body).encode()[:MESSAGE_LIMIT], socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError):
        return


def decode(data: bytes) -> dict[str, Any]:
    """The message; one that is no JSON object is an empty one, which nobody knows."""
    try:
        message = json.loads(data)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def refusal(error: Exception) -> Refused:
    """The last event for an error; what is not ours is named by its kind only."""
    if isinstance(error, KloisterError):
        return Refused(error.code, error.text, error.hint)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return Refused("sandbox-failed", f"The sandbox could not be built: {reason}.", "Run `kloister doctor`.")


class Stopwatch:
    """Cuts time into phases."""

    def __init__(self) -> None:
        self._last = monotonic()

    def phase(self, name: str) -> Phase:
        """The phase that ends now."""
        now = monotonic()
        elapsed, self._last = now - self._last, now
        return Phase(name, int(elapsed * 1_000_000))
