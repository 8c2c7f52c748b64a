from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from kloister.services.attestation.listening import AttestationProtocol, Rest
from kloister.services.broker import listeners
from kloister.services.broker.binding import bind_tcp
from kloister.services.broker.listeners import Listener, TimelyProtocol

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PIECES = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
SEEN: list[Any] = []


class HandLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until it is moved."""

    now = 100.0

    def time(self) -> float:
        return self.now


@dataclass(frozen=True)
class Served:
    """A connection, and the loop of whoever is at its other end."""

    client: socket.socket
    loop: HandLoop

    def move(self, seconds: float) -> None:
        """Let time pass, and whatever it brings happen."""
        self.loop.now += seconds
        for _ in range(3):  # turns: what is due, what that makes ready, and the next
            turned = threading.Event()
            self.loop.call_soon_threadsafe(turned.set)
            assert turned.wait(60)


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    SEEN.append(scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.contextmanager
def connected(protocol: type[asyncio.Protocol]) -> Iterator[Served]:
    with bind_tcp("127.0.0.1:0") as sock, asyncio.Runner(loop_factory=HandLoop) as runner:
        listener, loop = Listener(app, sock, protocol, None), cast("HandLoop", runner.get_loop())
        thread = threading.Thread(target=lambda: runner.run(listener.listen()))
        thread.start()
        try:
            with socket.create_connection(sock.getsockname(), 60) as client:
                yield Served(client, loop)
        finally:
            listener.should_exit = True
            while thread.is_alive():  # the listener looks now and then
                loop.now += 0.1
                thread.join(0.01)


def answers(client: socket.socket, count: int) -> bytes:
    """As much as that many answers are."""
    found = b""
    while found.count(b"\r\n\r\nok") < count:
        data = client.recv(1000)
        assert data, found
        found += data
    return found


def drip(served: Served, data: bytes, seconds: float) -> bool:
    """Send byte by byte; whether the other side closed before the time was over."""
    try:
        for number in range(len(data)):
            served.client.sendall(data[number : number + 1])
            served.move(seconds / len(data))
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
    with connected(protocol) as served:
        for _ in range(4):  # whoever gets answers may stay
            served.client.sendall(ASK)
            assert answers(served.client, 1).startswith(b"HTTP/1.1 200")
            served.move(0.4)
        assert drip(served, rest, 8)


def test_what_comes_behind_a_body_is_not_kept() -> None:
    SEEN.clear()
    with connected(AttestationProtocol) as served:
        served.client.sendall(PIECES + b"X-Trailer: " + b"y" * 1000 + b"\r\n\r\n" + ASK)
        answers(served.client, 2)
    assert [sorted(name for name, _ in each) for each in SEEN] == [[b"host", b"transfer-encoding"], [b"host"]]


class Wire:
    """A transport that only says whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_who_rests_too_long_is_closed_and_who_is_busy_is_not() -> None:
    with asyncio.Runner(loop_factory=HandLoop) as runner:
        runner.run(_rests())


async def _rests() -> None:
    loop, busy, wires = cast("HandLoop", asyncio.get_running_loop()), [False], [Wire() for _ in range(3)]

    async def pass_by(seconds: float) -> None:
        loop.now += seconds
        for _ in range(3):
            await asyncio.sleep(0)

    resting, asking, waiting = (Rest(loop, cast("Any", wire), 0.2, lambda: busy[0]) for wire in wires)
    resting.begin()
    asking.begin()
    for _ in range(6):
        await pass_by(0.1)
        asking.begin()
    assert [wire.closed for wire in wires] == [True, False, False]
    busy[0] = True
    waiting.begin()
    await pass_by(0.5)
    assert not wires[1].closed
    assert not wires[2].closed
    busy[0] = False
    waiting.begin()
    await pass_by(0.5)
    assert wires[2].closed
    asking.stop()
