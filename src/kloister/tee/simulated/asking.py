"""Asks the platform's daemon as `client` does, in a loop: waiting for a thread would take longer than the answer."""

from __future__ import annotations

import array
import asyncio
import contextlib
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kloister.errors import Unavailable
from kloister.formats.protocol.allocations import Allocate, AllocationStatus, Release
from kloister.formats.protocol.frames import CONTROL_LIMIT, Decoder, encode
from kloister.formats.protocol.platform import Plain
from kloister.formats.protocol.tee import raise_refusal
from kloister.tee.simulated.client import connect, listening, parse_allocations

_CHUNK = 64 * 1024  # bytes of one read
_PATIENCE = 60.0  # seconds for a question; the daemon is one thread and may be building an enclave
_WHAT = "platform"

Message = dict[str, Any]


async def ask(control: Path, message: Mapping[str, Any], passed: Iterable[int] = ()) -> Message:
    """The answer to one question at the control socket; descriptors ride on the question's first byte.

    Raises:
        Unavailable: `platform-unreachable`, `peer-gone`, `peer-silent`.
        Denied: with the platform's own reason.
        Malformed: `platform-*`.
    """
    with connect(control, wait=False) as sock:
        try:
            async with asyncio.timeout(_PATIENCE):
                await _send(sock, encode(message, CONTROL_LIMIT), passed)
                answer = await _receive(sock)
        except TimeoutError:
            raise Unavailable("peer-silent", "The platform did not answer in time.", "Try again.") from None
        except OSError:
            answer = None
    if answer is None:
        raise Unavailable("peer-gone", "The platform closed the connection without an answer.", "Try again.")
    raise_refusal(answer, _WHAT)
    return answer


async def allocate(control: Path, name: str, epc: int, directory: Path) -> None:
    """See `PlatformClient.allocate`."""
    with listening(directory) as listener:
        await ask(control, Allocate(name, epc, str(directory)).build(), [listener.fileno()])


async def release(control: Path, name: str) -> None:
    """See `PlatformClient.release`."""
    await ask(control, Release(name).build())


async def allocations(control: Path) -> list[AllocationStatus]:
    """See `PlatformClient.allocations`."""
    return parse_allocations(await ask(control, Plain("allocations").build()))


async def _send(sock: socket.socket, data: bytes, passed: Iterable[int]) -> None:
    """Even where the daemon has refused and closed by now: what is left to read says why."""
    rights = array.array("i", passed)
    with contextlib.suppress(BrokenPipeError):
        sent = (
            sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_NOSIGNAL) if rights else 0
        )
        await asyncio.get_running_loop().sock_sendall(sock, data[sent:])


async def _receive(sock: socket.socket) -> Message | None:
    decoder = Decoder(CONTROL_LIMIT, _WHAT)
    while (message := decoder.take()) is None:
        chunk = await asyncio.get_running_loop().sock_recv(sock, _CHUNK)
        if not chunk:
            return None
        decoder.feed(chunk)
    return message
