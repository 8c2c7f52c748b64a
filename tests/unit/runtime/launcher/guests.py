"""The two ends that the launcher finds inside: pid 1, which hears events and answers writes, and the processor."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kloister.formats.protocol.frames import TEE_LIMIT
from kloister.formats.wire import b64url
from kloister.runtime.linux import notifications
from kloister.tee.simulated.framing import Reader, send

TARGET_INFO = b"t" * 512
_PATIENCE = 120.0  # seconds
_STARTER = """
import os, sys
for source, target in zip(sys.argv[1:5:2], sys.argv[2:5:2]):
    os.dup2(int(source), int(target))
os.closerange(6, 256)
os.closerange(4, 5)
os.execv(sys.executable, [sys.executable, *sys.argv[5:]])
"""


@dataclass
class Guest:
    """What came out of a launcher's run."""

    events: list[dict[str, Any]] = field(default_factory=list)
    quoted: list[str] = field(default_factory=list)
    status: int = 0
    output: bytes = b""

    @property
    def refusal(self) -> str | None:
        """The code of the refusal, if there was one."""
        return next((event["code"] for event in self.events if event["event"] == "refused"), None)


def run(module: str, *arguments: str) -> Guest:
    """Run `python -m module` with the enclave's socket on 3 and the init socket on 5, as the runner does."""
    guest = Guest()
    with _pair(socket.SOCK_STREAM) as (processor, enclave), _pair(socket.SOCK_SEQPACKET) as (init, channel):
        threads = [
            threading.Thread(target=_be_processor, args=(processor, guest)),
            threading.Thread(target=_be_init, args=(init, guest)),
        ]
        high = [_high(enclave), _high(channel)]
        command = [sys.executable, "-I", "-c", _STARTER, str(high[0]), "3", str(high[1]), "5"]
        process = subprocess.Popen(
            [*command, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=high,
            cwd=Path(__file__).parents[4],
        )
        for descriptor in high:
            os.close(descriptor)
        enclave.close()
        channel.close()
        for thread in threads:
            thread.start()
        try:
            guest.output, _ = process.communicate(timeout=_PATIENCE)
        finally:
            process.kill()
        for thread in threads:
            thread.join(_PATIENCE)
        guest.status = process.returncode
    return guest


def _high(sock: socket.socket) -> int:
    """A copy out of the way of 3 and 5."""
    return fcntl.fcntl(sock, fcntl.F_DUPFD, 100)


@contextmanager
def _pair(kind: socket.SocketKind) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        ours.settimeout(_PATIENCE)
        yield ours, theirs


def _be_processor(sock: socket.socket, guest: Guest) -> None:
    reader = Reader(sock, "tee", TEE_LIMIT)
    while (received := reader.receive()) is not None:
        message, _ = received
        if message["op"] == "targetInfo":
            send(sock, {"targetInfo": b64url(TARGET_INFO)}, limit=TEE_LIMIT)
        else:
            guest.quoted.append(message["reportData"])
            send(sock, {"quote": b64url(b"quote")}, limit=TEE_LIMIT)


def _be_init(sock: socket.socket, guest: Guest) -> None:
    listener = -1
    while True:
        data, passed, _, _ = socket.recv_fds(sock, 65536, 1)
        if not data:
            break
        guest.events.append(json.loads(data))
        listener = passed[0] if passed else listener
        if passed:
            answering = threading.Thread(target=_answer, args=(listener,))
            answering.start()
    if listener >= 0:
        answering.join(_PATIENCE)
        os.close(listener)


def _answer(listener: int) -> None:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ((_, event),) = poll.poll(_PATIENCE * 1000) or ((0, select.POLLHUP),)
        if event & select.POLLHUP:
            return
        notification = notifications.receive(listener)
        if notification is not None:
            notifications.let_continue(listener, notification)
