"""One connection by itself: an answer that does not fit at once, and an end in every state."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from kloister.formats.protocol import aesm
from kloister.kubernetes.node.quotes import Limits
from kloister.kubernetes.node.quotes.callers import Caller
from kloister.kubernetes.node.quotes.exchange import Exchange
from kloister.kubernetes.node.quotes.limits import Account

BODY = bytes(range(256)) * 4096  # 1 MiB: more than a socket holds


class Scene:
    """An exchange, its client's end, and what it told its owner."""

    def __init__(self) -> None:
        self.client, served = socket.socketpair()
        served.setblocking(False)
        self.client.setblocking(False)
        self.asked: list[bytes] = []
        self.over = 0
        self.exchange = Exchange(served, Caller(0, 1), Account(Limits()), 5.0, self._whole, self._over)

    def _whole(self, exchange: Exchange, body: bytes) -> None:
        assert exchange is self.exchange
        self.asked.append(body)

    def _over(self, exchange: Exchange) -> None:
        assert exchange is self.exchange
        self.over += 1

    async def everything(self) -> bytes:
        """What the client receives until the end."""
        loop, data = asyncio.get_running_loop(), b""
        while chunk := await loop.sock_recv(self.client, 65536):
            data += chunk
        return data


def run(action: Callable[[Scene], Awaitable[None]]) -> None:
    async def act() -> None:
        scene = Scene()
        try:
            async with asyncio.timeout(20):
                await action(scene)
        finally:
            scene.exchange.close()
            scene.client.close()

    asyncio.run(act())


def test_an_answer_that_is_taken_slowly_comes_whole() -> None:
    async def act(scene: Scene) -> None:
        scene.client.send(aesm.frame(b"question"))
        scene.exchange.begin()
        assert (scene.asked, scene.exchange.deadline) == ([b"question"], None)
        scene.exchange.answer(BODY, 7.0)
        assert (scene.exchange.deadline, scene.over) == (7.0, 0), "it waits for the client, which can be overdue"
        assert await scene.everything() == aesm.frame(BODY)
        assert scene.over == 1

    run(act)


def test_what_follows_a_request_is_no_second_one() -> None:
    async def act(scene: Scene) -> None:
        scene.client.send(aesm.frame(b"question") * 2)
        scene.exchange.begin()
        scene.client.send(aesm.frame(b"another"))
        await asyncio.sleep(0.01)
        scene.exchange.answer(BODY, 7.0)
        await asyncio.sleep(0.01)
        assert scene.asked == [b"question"]

    run(act)


@pytest.mark.parametrize("sent", [b"", b"\x05", aesm.frame(b"whole")])
def test_a_client_that_leaves_ends_it(sent: bytes) -> None:
    async def act(scene: Scene) -> None:
        scene.client.send(sent)
        scene.exchange.begin()
        scene.client.close()
        await asyncio.sleep(0.01)
        if scene.asked:
            scene.exchange.answer(BODY, 7.0)
        assert scene.over == 1

    run(act)


def test_the_end_cancels_what_is_being_done_and_is_told_once() -> None:
    async def act(scene: Scene) -> None:
        scene.exchange.task = asyncio.create_task(asyncio.sleep(60))
        scene.exchange.begin()
        scene.exchange.close()
        scene.exchange.close()
        assert scene.over == 1
        scene.exchange.answer(b"late", 7.0)
        with pytest.raises(asyncio.CancelledError):
            await scene.exchange.task

    run(act)
