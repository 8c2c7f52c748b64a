"""The application of a test's enclave: reads commands from its standard input and answers on its standard output.

It lives in a pid namespace of its own and is that namespace's init; nothing else of it differs from the test's process.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from kloister.errors import KloisterError
from kloister.formats.protocol import tee
from kloister.formats.protocol.frames import TEE_LIMIT, encode
from kloister.tee.device import Device
from kloister.tee.simulated.framing import Reader

DATA = bytes(range(64))
_SYS_CLONE3 = 435  # asm/unistd_64.h
_CLONE_NEWPID = 0x20000000  # who is init of a pid namespace made with a user namespace may do this without root


def ask(device: Device) -> dict[str, str]:
    """The quote in hex, or the code of the refusal."""
    try:
        return {"quote": device.quote(DATA).hex()}
    except KloisterError as error:
        return {"code": error.code}


def ask_at(path: str) -> dict[str, str]:
    """The same over a named socket."""
    try:
        with Device.connect(path) as device:
            return ask(device)
    except KloisterError as error:
        return {"code": error.code}


def answer_on(sock: socket.socket) -> dict[str, str]:
    """The answer to a request that somebody else sent."""
    received = Reader(sock, "tee", TEE_LIMIT).receive()
    message = received[0] if received else {"error": {"code": "closed"}}
    return {"code": message["error"]["code"]} if "error" in message else {"quote": "given"}


def request() -> bytes:
    """A request as its bytes on the wire."""
    return encode(tee.QuoteRequest(DATA).build(), TEE_LIMIT)


def in_grandchild(action: Callable[[], Any], unshare: int = 0) -> Any:
    """What `action` returns in a process whose parent has gone, optionally in a namespace of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if unshare and ctypes.CDLL(None).unshare(unshare) != 0:
            os.write(writing, b'{"code": "unshare"}')
            os._exit(1)
        if os.fork() == 0:
            os.write(writing, json.dumps(action()).encode())
            os._exit(0)
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return json.loads(pipe.read())


def send_and_exit(path: str) -> socket.socket:
    """A connection that a process made, wrote a request on, and left behind by exiting."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    child = os.fork()
    if child == 0:
        sock.connect(path)
        sock.sendall(request())
        os._exit(0)
    os.waitpid(child, 0)
    return sock


def ask_in_the_name_of(path: str, pid: int) -> dict[str, str]:
    """Ask with credentials that name process `pid` as the sender; an errno's name where the kernel refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)
        name = struct.pack("3i", pid or os.getpid(), os.getuid(), os.getgid())  # struct ucred, unix(7)
        try:
            sock.sendmsg([request()], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, name)])
        except PermissionError:
            return {"code": "EPERM"}
        return answer_on(sock)


def take_pid(outer: int) -> int:
    """Fork a process whose number in the outer namespace is `outer`; it waits to be killed. Needs root."""
    tids = (ctypes.c_int * 2)(outer, outer)  # innermost namespace first, clone3(2)
    arguments = struct.pack("<11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tids), 2, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    pid: int = libc.syscall(_SYS_CLONE3, arguments, len(arguments))
    if pid == 0:
        while True:
            signal.pause()
    return pid


def work(descriptors: Sequence[int], attestation: str) -> int:
    """Obey until told to exit; descriptors in the order of the spawner's protocol."""
    device = Device(socket.socket(fileno=os.dup(descriptors[3])))
    os.dup2(descriptors[4], 0)
    os.dup2(descriptors[5], 1)
    signal.signal(signal.SIGTERM, lambda *_: _say({"signal": "SIGTERM"}))
    left: list[socket.socket] = []
    with os.fdopen(0, "r") as lines:
        for line in lines:
            command = json.loads(line)
            if command["do"] == "exit":
                return int(command["status"])
            with contextlib.suppress(BrokenPipeError):
                _say(_do(command, device, attestation, left))
    return 0


def _say(answer: Any) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


def _do(command: dict[str, Any], device: Device, attestation: str, left: list[socket.socket]) -> Any:
    path = command.get("path", attestation)
    commands: dict[str, Callable[[], Any]] = {
        "ask": lambda: ask(device),
        "connect": lambda: ask_at(path),
        "everything": lambda: _everything(device),
        "double-fork": lambda: in_grandchild(lambda: ask_at(path)),
        "nest": lambda: in_grandchild(lambda: ask_at(path), _CLONE_NEWPID),
        "send-and-exit": lambda: left.append(send_and_exit(path)),
        "answer": lambda: answer_on(left.pop()),
        "hand-out": lambda: _hand_out(attestation, command["to"], command["begin"], left),
        "send-descriptor": lambda: _send_descriptor(attestation),
        "take-pid": lambda: take_pid(command["pid"]),
    }
    return commands[command["do"]]()


def _everything(device: Device) -> dict[str, str]:
    info = device.target_info()
    return {"report": device.report(info, DATA).hex(), "info": info.hex(), "key": device.key(bytes(512)).hex()}


def _hand_out(attestation: str, to: str, begin: int, left: list[socket.socket]) -> None:
    """Give a connection of ours to a process outside, having written the first `begin` bytes of a request."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(attestation)
    if begin:
        connection.send(request()[:begin])
    left.append(connection)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as courier:
        courier.connect(to)
        rights = array.array("i", [connection.fileno()])
        courier.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def _send_descriptor(attestation: str) -> dict[str, str]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(attestation)
        connection.sendmsg([request()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
        return answer_on(connection)
