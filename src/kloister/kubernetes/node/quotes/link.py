from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kloister.errors import KloisterError, Unavailable
from kloister.formats.protocol.frames import CONTROL_LIMIT, Decoder, encode
from kloister.formats.protocol.tee import raise_refusal
from kloister.tee.simulated import asking
from kloister.tee.simulated.client import connect

_WHAT = "platform"

Message = dict[str, Any]


class PlatformLink:
    """Asks the platform's control socket without waiting for one answer before the next question.

    Quotes go over one connection that stays open, which saves its daemon an accept for each; other questions have a
    connection of their own, as the daemon ends it behind them.

    Args:
        control: path of the socket.
    """

    def __init__(self, control: Path) -> None:
        self._control = control
        self._quotes: _Pipe | None = None
        self._opening = asyncio.Lock()

    async def ask(self, message: Mapping[str, Any]) -> Message:
        """The answer to one question. Raises as `asking.ask`."""
        return await asking.ask(self._control, message)

    async def ask_quote(self, message: Mapping[str, Any]) -> Message:
        """The answer to a `quoteReport`.

        Raises:
            Unavailable: `platform-unreachable`, `peer-gone`.
            Denied: with the platform's own reason.
            Malformed: `platform-*`.
        """
        async with self._opening:
            if self._quotes is None or self._quotes.closed:
                self._quotes = await self._open()
            asked = self._quotes.ask(message)
        return _answer(await asked)

    def close(self) -> None:
        """End the connection; questions under way fail."""
        if self._quotes is not None:
            self._quotes.close()

    async def _open(self) -> _Pipe:
        sock = connect(self._control, wait=False)
        _, pipe = await asyncio.get_running_loop().create_unix_connection(_Pipe, sock=sock)
        return pipe


class _Pipe(asyncio.Protocol):
    """One connection: answers come in the order of the questions."""

    def __init__(self) -> None:
        self._decoder = Decoder(CONTROL_LIMIT, _WHAT)
        self._waiting: deque[asyncio.Future[Message]] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop says that it is open."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 (for the type: a stream's is one)
        self._transport = transport

    def ask(self, message: Mapping[str, Any]) -> asyncio.Future[Message]:
        """Send a question; who no longer waits for the answer cancels."""
        future = asyncio.get_running_loop().create_future()
        if self.closed or self._transport is None:
            future.set_exception(_gone())
        else:
            self._waiting.append(future)
            self._transport.write(encode(message, CONTROL_LIMIT))
        return future

    def data_received(self, data: bytes) -> None:
        """The loop hands in what came."""
        self._decoder.feed(data)
        try:
            while (message := self._decoder.take()) is not None:
                future = self._waiting.popleft() if self._waiting else None
                if future is not None and not future.done():
                    future.set_result(message)
        except KloisterError as error:
            self._end(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop says that it is over."""
        del exc
        self._end(_gone())

    def close(self) -> None:
        """End it."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def _end(self, error: KloisterError) -> None:
        self.closed = True
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)


def _answer(message: Message) -> Message:
    raise_refusal(message, _WHAT)
    return message


def _gone() -> Unavailable:
    return Unavailable("peer-gone", "The platform closed the connection without an answer.", "Try again.")
