"""Ports that a test must know before somebody listens there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import cache
from itertools import chain

_FIRST = 11_000  # below those that the product takes for itself (16384 and up), and those of the kernel (32768 and up)
_LANE = 1_000  # for each of the first five workers of a parallel run its own
_LANES = 5
_STRIDE = 97  # between where two processes of neighbouring numbers begin to look


def free_port() -> int:
    """A port of the loopback that nobody has now, and that neither this process nor its neighbour hands out again.

    So a daemon that was stopped finds its port free when it starts again.
    """
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
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + worker % _LANES * _LANE
    start = first + os.getpid() * _STRIDE % _LANE  # two runs on one machine begin apart
    return chain(range(start, first + _LANE), range(first, start))
