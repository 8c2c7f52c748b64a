"""Clients of the attestation service: each keeps one TLS connection and asks again as soon as it was answered."""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import cast

import uvloop

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass
class Load:
    """What clients share: requests in turn, and what came of them."""

    requests: cycle[bytes]
    left: int = 0  # of this block
    wrong: int = 0
    latencies: list[float] = field(default_factory=list)  # ms


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self) -> None:
        """Until there is nothing left to ask in this block."""
        self._done = asyncio.get_running_loop().create_future()
        self._next()
        await self._done

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Ask again after a whole answer."""
        self._received += data
        head, found, body = self._received.partition(_END)
        if not found:
            return
        start = head.lower().index(_LENGTH) + len(_LENGTH)
        if len(body) < int(head[start:].split(b"\r\n", 1)[0]):
            return
        self._load.latencies.append((time.perf_counter() - self._asked) * 1000)
        self._load.wrong += not (head.startswith(b"HTTP/1.1 200 ") and body.startswith(b'{"token":"'))
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """An error, unless all was asked."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("the service closed the connection"))

    def _next(self) -> None:
        if self._load.left == 0:
            if self._done is not None:
                self._done.set_result(None)
            return
        self._load.left -= 1
        self._asked = time.perf_counter()
        self._transport.write(next(self._load.requests))


async def _run(load: Load, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Wall time and the service's CPU time of each block; connections are made before."""
    loop, context = asyncio.get_running_loop(), ssl.create_default_context(cafile=arguments.ca)
    clients = [
        (
            await loop.create_connection(
                lambda: Client(load), "127.0.0.1", arguments.port, ssl=context, server_hostname="localhost"
            )
        )[1]
        for _ in range(arguments.clients)
    ]
    found = []
    for _ in range(arguments.blocks):
        load.left = arguments.count // arguments.blocks
        begin, before = time.perf_counter(), _on_cpu(arguments.pids)
        await asyncio.gather(*(client.ask() for client in clients))
        found.append({"seconds": time.perf_counter() - begin, "cpu": _on_cpu(arguments.pids) - before})
    for client in clients:
        client.close()
    return found


def _on_cpu(pids: list[int]) -> float:
    """Seconds that the processes' threads have run (/proc/PID/task/TID/schedstat, nanoseconds)."""
    total = 0
    for file in (file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")):
        with suppress(OSError):  # the thread has just ended
            total += int(file.read_text().split()[0])
    return total / 1e9


def main() -> None:
    """Ask, and print JSON: `blocks`, `p50` and `p99` of the answers' milliseconds, how many were `wrong`."""
    parser = argparse.ArgumentParser()
    for name in ("port", "clients", "count", "blocks"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--requests", type=Path, required=True, help="JSON list of texts")
    parser.add_argument("--pids", type=int, nargs="+", help="of the service")
    arguments = parser.parse_args()
    load = Load(cycle([each.encode() for each in json.loads(arguments.requests.read_text())]))
    blocks = uvloop.run(_run(load, arguments))
    times = sorted(load.latencies)
    middle, high = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(json.dumps({"blocks": blocks, "p50": middle, "p99": high, "wrong": load.wrong}))


if __name__ == "__main__":
    main()
