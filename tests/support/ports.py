"""Ports that a test must know before somebody listens there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import cache
from itertools import chain

_FIRST, _END = 20_000, 32_000  # below those that the kernel hands out by itself (32768 and up)
_STRIDE = 97  # between where two processes of neighbouring numbers begin to look


def free_port() -> int:
    """A port of the loopback that nobody has now, and that neither the kernel nor this process hands out again."""
    for port in _candidates():
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


@cache
def _candidates() -> Iterator[int]:
    start = _FIRST + os.getpid() * _STRIDE % (_END - _FIRST)
    return chain(range(start, _END), range(_FIRST, start))
