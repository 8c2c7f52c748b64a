"""A process that plays a pod: reads commands as JSON lines, asks the helper, prints what became of it."""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from kloister.formats.protocol.aesm import KeyNumber
from tests.support.aesm import AesmClient

held: list[socket.socket] = []


def hold(client: AesmClient, number: int, data: str) -> dict[str, Any]:
    """Open that many connections, send something on each, and neither finish nor close."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    for _ in range(number):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(client.address))
        with suppress(OSError):  # the helper may have ended it already
            sock.send(bytes.fromhex(data))
        held.append(sock)
    return {"held": len(held)}


def flood(client: AesmClient, seconds: float, least: int, data: str) -> dict[str, Any]:
    """Connect and send for that long, and that often, as fast as it goes."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end or number < least:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(client.address))
            number += 1
            sock.send(bytes.fromhex(data))
    return {"connections": number}


def quotes(client: AesmClient, report: str, number: int) -> dict[str, Any]:
    """Ask for quotes one after another."""
    codes, longest = [], 0.0
    for _ in range(number):
        begin = time.monotonic()
        codes.append(client.get(bytes.fromhex(report)).code)
        longest = max(longest, time.monotonic() - begin)
    return {"codes": codes, "longest": longest}


def asks(client: AesmClient, number: int) -> dict[str, Any]:
    """Small requests one after another."""
    return {"codes": [client.ask(KeyNumber()).code for _ in range(number)]}


def alive(client: AesmClient) -> dict[str, Any]:
    """How many of the held connections the helper has not ended."""
    del client
    number = 0
    for sock in held:
        sock.setblocking(False)
        try:
            number += bool(sock.recv(1))
        except BlockingIOError:
            number += 1
        except OSError:
            continue
    return {"alive": number}


COMMANDS = {"hold": hold, "flood": flood, "quotes": quotes, "asks": asks, "alive": alive}


def main(path: str) -> None:
    """Serve commands until the end of stdin."""
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("do")
        done = COMMANDS[name](AesmClient(path), **command)  # type: ignore[operator]  # the callers give what fits
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
