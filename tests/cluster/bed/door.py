"""A port of this machine's loopback that leads into the bed: the listener is made outside, the calls inside."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from functools import partial
from pathlib import Path

from tests.cluster.bed.layout import CONTROL, Layout
from tests.cluster.bed.machine import Machine

_CHUNK = 1 << 16
ROOT = Path(__file__).resolve().parents[3]


def open_door(layout: Layout, host: str, port: int) -> int:
    """Forward a new port of 127.0.0.1 to this address as the control machine reaches it; returns the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = int(listener.getsockname()[1])
        words = (sys.executable, "-m", __name__, str(listener.fileno()), host, str(port))
        Machine(layout, CONTROL.name).start(
            f"door-{host}-{port}", *words, environment={"PYTHONPATH": str(ROOT)}, keep=(listener.fileno(),)
        )
    return own


async def _forward(host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        inner_reader, inner_writer = await asyncio.open_connection(host, port)
        try:
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        finally:
            inner_writer.close()
    writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _serve(descriptor: int, host: str, port: int) -> None:
    server = await asyncio.start_server(partial(_forward, host, port), sock=socket.socket(fileno=descriptor))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
