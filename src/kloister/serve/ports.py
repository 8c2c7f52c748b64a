"""Ports for what is started now and started again later: none that the kernel may give to a connection meanwhile."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from kloister import entropy

_HOST = "127.0.0.1"
_FIRST, _END = 16_384, 32_768  # the registered ports that few services use, and where Linux begins with its own
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")  # ip(7): what connections that go out are given
_TRIES = 64
OTHERS = 3  # addresses of our own choice that are tried after one that another program took first


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now, and that no connection going out is given later."""
    end = min(_END, _outgoing())
    for _ in range(_TRIES if end > _FIRST else 0):
        port = _FIRST + int.from_bytes(entropy.draw(4), "big") % (end - _FIRST)
        if _is_free(_HOST, port):
            return port
    return _bound(_HOST, 0)


def free_address(usual: str, avoided: str = "") -> str:
    """The usual address, or another port where a stack of another state directory has it already.

    Args:
        usual: HOST:PORT.
        avoided: what the other service of this stack has, or will have in a moment.
    """
    host, port = usual.split(":")
    return usual if usual != avoided and _is_free(host, int(port)) else other_address(usual)


def other_address(taken: str) -> str:
    """One with another port, for whoever came second: the taken one may be free in this moment, and not in the next."""
    host, _ = taken.split(":")
    return f"{host}:{free_port()}"


def _outgoing() -> int:
    """The first port of those; `_END` where the kernel does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_OUTGOING.read_text().split()[0])
    return _END


def _is_free(host: str, port: int) -> bool:
    try:
        _bound(host, port)
    except OSError:
        return False
    return True


def _bound(host: str, port: int) -> int:
    """The port that could be bound. Raises OSError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
