"""The process that makes sandboxes. The daemon forks it before it reads its fuses, so it never saw a key.

It begins by executing itself anew: nothing of the daemon's memory stays, and the sandboxes' pid 1 is as small.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kloister.errors import KloisterError
from kloister.formats.enclave.runtime import RUNTIME_ARGV
from kloister.formats.protocol.spawner import StartRequest
from kloister.runtime.linux import process
from kloister.runtime.runner import events, monitor
from kloister.runtime.runner.sandbox import Descriptors
from kloister.tee.simulated import framing

_PROGRAM = "import sys; sys.path[:0] = sys.argv[2:]; from kloister.runtime.runner import spawner; spawner.main()"


def serve(sock: socket.socket) -> NoReturn:
    """Become the spawner: serve `formats.protocol.spawner` on `sock` until the daemon closes its end.

    To be called in a process forked for it; never returns.
    """
    os.set_inheritable(sock.fileno(), True)
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-I", "-c", _PROGRAM, str(sock.fileno()), root]
    os.execv(sys.executable, command)  # noqa: S606 -- no shell is wanted


def main() -> NoReturn:
    """Entry point of the process that `serve` executes."""
    process.die_with_parent()
    process.set_name(b"kloister-spawn")
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    for begin, end in ((3, descriptor), (descriptor + 1, process.MOST_DESCRIPTORS)):
        os.closerange(begin, end)  # what whoever started the daemon left open is nobody's business in here
    sock = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is the daemon's affair
    loop(sock)
    sys.exit(0)


def loop(sock: socket.socket, arguments: Sequence[str] = RUNTIME_ARGV) -> None:
    """Fork a monitor for each request, until the other end closes. Ended monitors are reaped by the kernel.

    Args:
        sock: the daemon's.
        arguments: argument vector of each first process.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()  # what is loaded now stays shared with every child
    reader = framing.Reader(sock, "start")
    while (received := reader.receive()) is not None:
        message, numbers = received
        try:
            if not os.fork():
                _monitor(sock, message, numbers, tuple(arguments))
        finally:
            framing.close_all(numbers)


def _monitor(
    sock: socket.socket, message: dict[str, object], numbers: list[int], arguments: tuple[str, ...]
) -> NoReturn:
    """The child's whole life."""
    status = 1
    try:
        sock.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        status = _answer(message, numbers, arguments)
    finally:
        os._exit(status)


def _answer(message: dict[str, object], numbers: list[int], arguments: tuple[str, ...]) -> int:
    try:
        request = StartRequest.parse(message)
        descriptors = Descriptors.of(numbers, len(request.mounts))
    except KloisterError as error:
        if numbers:
            with socket.socket(fileno=numbers[0]) as channel:
                framing.send(channel, events.refusal(error).build())
        return 1
    return monitor.watch(request, descriptors, arguments)
