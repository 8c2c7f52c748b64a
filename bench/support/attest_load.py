"""Clients of the attestation service: each keeps one TLS connection and asks again as soon as it was answered."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
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
    left: int
    wrong: int = 0
    latencies: list[float] = field(default_factory=list)  # ms


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self) -> None:
        """Until there is nothing left to ask."""
        self._next()
        await self._done
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
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the service closed the connection"))

    def _next(self) -> None:
        if self._load.left == 0:
            self._done.set_result(None)
            return
        self._load.left -= 1
        self._asked = time.perf_counter()
        self._transport.write(next(self._load.requests))


async def _run(load: Load, port: int, context: ssl.SSLContext, clients: int) -> float:
    """Seconds until all requests were answered, connections not counted."""
    loop = asyncio.get_running_loop()
    made = [
        (
            await loop.create_connection(
                lambda: Client(load), "127.0.0.1", port, ssl=context, server_hostname="localhost"
            )
        )
        for _ in range(clients)
    ]
    begin = time.perf_counter()
    await asyncio.gather(*(client.ask() for _, client in made))
    return time.perf_counter() - begin


def main() -> None:
    """Arguments: port, CA, file of requests (JSON list of texts), clients, count. Prints JSON."""
    port, ca, file, clients, count = sys.argv[1:]
    requests = [each.encode() for each in json.loads(Path(file).read_text())]
    load = Load(cycle(requests), int(count))
    context = ssl.create_default_context(cafile=ca)
    seconds = uvloop.run(_run(load, int(port), context, int(clients)))
    print(json.dumps({"seconds": seconds, "wrong": load.wrong, "milliseconds": sorted(load.latencies)}))


if __name__ == "__main__":
    main()
