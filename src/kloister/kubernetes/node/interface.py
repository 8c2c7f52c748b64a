"""The agent's own interface: GET /metrics, /healthz and /readyz, nothing else; small, for it runs on every node."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_LONGEST_HEAD = 8 * 1024  # bytes of a request's line and headers
_PATIENCE = 5.0  # seconds for a request to arrive and for an answer to be taken
_MOST = 64  # connections at once; a scraper has one
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    body: bytes
    kind: str = TEXT


class Interface:
    """Serves pages made at each request.

    Args:
        sock: listening.
        pages: by path.
    """

    def __init__(self, sock: socket.socket, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._sock, self._pages = sock, pages
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    @property
    def address(self) -> str:
        """HOST:PORT."""
        host, port = self._sock.getsockname()[:2]
        return f"{host}:{port}"

    async def start(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._serve, sock=self._sock, limit=_LONGEST_HEAD)

    async def stop(self) -> None:
        """Close the listener; answers in progress are cut off."""
        if self._server is not None:
            self._server.close()
        tasks = [task for task in self._open.values() if task is not None]
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            if len(self._open) <= _MOST:
                async with asyncio.timeout(_PATIENCE):
                    writer.write(_build(await self._answer(reader)))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone or never finished asking
        finally:
            del self._open[writer]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> Page:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Page(400, b"the request is too long\n")
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):  # noqa: PLR2004 -- method, target, version
            return Page(400, b"this is no HTTP/1.1 request\n")
        page = self._pages.get(words[1].partition(b"?")[0].decode("latin-1"))
        if page is None:
            return Page(404, b"there are /metrics, /healthz and /readyz\n")
        return page() if words[0] == b"GET" else Page(405, b"only GET\n")


def _build(page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.kind}\r\n"
        f"Content-Length: {len(page.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + page.body
