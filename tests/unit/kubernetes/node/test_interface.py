from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from kloister.kubernetes.node import interface
from kloister.kubernetes.node.interface import Interface, Page

PAGES = {"/healthz": lambda: Page(200, b"ok\n"), "/readyz": lambda: Page(503, b"not yet\n")}


def _served(scene: Callable[[Interface, int], Awaitable[None]]) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            served = Interface(sock, PAGES)
            await served.start()
            try:
                await scene(served, sock.getsockname()[1])
            finally:
                await served.stop()

    asyncio.run(run())


async def _until_open(served: Interface, connections: int) -> None:
    async with asyncio.timeout(60):
        while len(served._open) != connections:  # noqa: ASYNC110 -- the product has no event for it
            await asyncio.sleep(0.01)


async def _ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /healthz HTTP/1.1", 200), ("GET /healthz?x=1 HTTP/1.0", 200), ("GET /readyz HTTP/1.1", 503),
        ("GET / HTTP/1.1", 404), ("GET /healthz/../x HTTP/1.1", 404), ("POST /healthz HTTP/1.1", 405),
        ("HEAD /healthz HTTP/1.1", 405), ("GET /healthz", 400), ("GET  /healthz HTTP/1.1", 400), ("\x16\x03\x01", 400),
        ("GET /\xff HTTP/1.1", 404),
    ],
)  # fmt: skip
def test_only_its_pages_are_answered(request_line: str, status: int) -> None:
    async def scene(_served: Interface, port: int) -> None:
        answer = await _ask(port, f"{request_line}\r\nHost: x\r\n\r\n".encode("latin-1"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"

    _served(scene)


def test_too_long_a_request_is_refused() -> None:
    async def scene(_served: Interface, port: int) -> None:
        assert (await _ask(port, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 6000 + b"\r\n\r\n")).startswith(
            b"HTTP/1.1 200"
        )
        assert (await _ask(port, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n")).startswith(
            b"HTTP/1.1 400"
        )

    _served(scene)


def test_who_never_finishes_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "_PATIENCE", 0.05)

    async def scene(_served: Interface, port: int) -> None:
        assert await _ask(port, b"GET /healthz HTTP/1.1\r\n") == b""

    _served(scene)


def test_the_crowd_is_sent_away_and_the_next_one_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interface, "_MOST", 3)

    async def scene(served: Interface, port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await _until_open(served, 3)
        assert await _ask(port, b"") == b"", "one too many"
        for _, writer in held[1:]:
            writer.close()
        await _until_open(served, 1)
        assert (await _ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await served.stop()
        assert held[0][0].at_eof() or await held[0][0].read() == b"", "what is open when it ends is cut off"
        held[0][1].close()

    _served(scene)
