from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from kloister.services.attestation.listening import AttestationProtocol, Rest
from kloister.services.broker import listeners
from kloister.services.broker.binding import bind_tcp
from kloister.services.broker.listeners import Listener, TimelyProtocol

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PIECES = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
SEEN: list[Any] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    SEEN.append(scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.contextmanager
def connected(protocol: type[asyncio.Protocol]) -> Iterator[socket.socket]:
    with bind_tcp("127.0.0.1:0") as sock:
        listener = Listener(app, sock, protocol, None)
        thread = threading.Thread(target=lambda: asyncio.run(listener.listen()))
        thread.start()
        try:
            with socket.create_connection(sock.getsockname(), 5) as client:
                yield client
        finally:
            listener.should_exit = True
            thread.join()


def answers(client: socket.socket, count: int) -> bytes:
    """As much as that many answers are."""
    found = b""
    while found.count(b"\r\n\r\nok") < count:
        found += client.recv(1000)
    return found


def drip(client: socket.socket, data: bytes, seconds: float) -> bool:
    """Send byte by byte; whether the other side closed before the time was over."""
    end = time.monotonic() + seconds
    try:
        for number in range(len(data)):
            client.sendall(data[number : number + 1])
            time.sleep(0.02)
            if time.monotonic() > end:
                return False
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    ("protocol", "rest"),
    [
        (AttestationProtocol, b"GET / HTTP/1.1\r\nX: " + b"y" * 500),
        (TimelyProtocol, b"POST / HTTP/1.1\r\nContent-Length: 1000\r\nHost: a\r\n\r\n" + b"z" * 500),
    ],
)
def test_a_connection_is_not_held_by_single_bytes(
    protocol: type[asyncio.Protocol], rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "ANSWER_SECONDS", 1.0)
    with connected(protocol) as client:
        for _ in range(3):  # whoever gets answers may stay
            client.sendall(ASK)
            assert answers(client, 1).startswith(b"HTTP/1.1 200")
            time.sleep(0.4)
        assert drip(client, rest, 8)


def test_what_comes_behind_a_body_is_not_kept() -> None:
    SEEN.clear()
    with connected(AttestationProtocol) as client:
        client.sendall(PIECES + b"X-Trailer: " + b"y" * 1000 + b"\r\n\r\n" + ASK)
        answers(client, 2)
    assert [sorted(name for name, _ in each) for each in SEEN] == [[b"host", b"transfer-encoding"], [b"host"]]


class Wire:
    """A transport that only says whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_who_rests_too_long_is_closed_and_who_is_busy_is_not() -> None:
    asyncio.run(_rests())


async def _rests() -> None:
    loop, busy, wires = asyncio.get_running_loop(), [False], [Wire() for _ in range(3)]
    resting, asking, waiting = (Rest(loop, cast("Any", wire), 0.2, lambda: busy[0]) for wire in wires)
    resting.begin()
    asking.begin()
    for _ in range(6):
        await asyncio.sleep(0.1)
        asking.begin()
    assert [wire.closed for wire in wires] == [True, False, False]
    busy[0] = True
    waiting.begin()
    await asyncio.sleep(0.5)
    assert not wires[1].closed
    assert not wires[2].closed
    busy[0] = False
    waiting.begin()
    await asyncio.sleep(0.5)
    assert wires[2].closed
    asking.stop()
