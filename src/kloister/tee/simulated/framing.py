"""Frames over Unix sockets, blocking, with descriptors: for the client, the spawner and its runners.

The daemon never blocks; its connections are in `connection.py`.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from kloister.errors import Malformed, Unavailable
from kloister.formats.protocol.frames import CONTROL_LIMIT, Decoder, encode

MAX_DESCRIPTORS = 128  # descriptors of one message: 7 of a start and 64 mounts; the kernel's own limit is 253
_CHUNK = 64 * 1024  # bytes of one recvmsg
_INT = array.array("i").itemsize


def descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came by SCM_RIGHTS; the caller owns and closes them."""
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % _INT])
    return list(found)


def close_all(numbers: Iterable[int]) -> None:
    """Close descriptors; one that is closed already is an error of ours and raises OSError."""
    for number in numbers:
        os.close(number)


def send(
    sock: socket.socket, message: Mapping[str, Any], passed: Iterable[int] = (), limit: int = CONTROL_LIMIT
) -> None:
    """Send one frame; descriptors ride on its first byte.

    Raises:
        Unavailable: `peer-gone`: the other side closed.
        Misused: `frame-size`.
    """
    data = memoryview(encode(message, limit))
    rights = array.array("i", passed)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    try:
        sent = sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
        if sent < len(data):  # even an empty send fails where the other side has answered and closed already
            sock.sendall(data[sent:], socket.MSG_NOSIGNAL)
    except OSError as error:
        raise Unavailable("peer-gone", f"The other side of the socket is gone: {error.strerror}.") from None


def ask(
    sock: socket.socket, message: Mapping[str, Any], passed: Iterable[int] = (), limit: int = CONTROL_LIMIT
) -> None:
    """Send a request whose answer is read next, even where the other side has refused and closed by now.

    Raises:
        Misused: `frame-size`.
    """
    with contextlib.suppress(Unavailable):  # what is left to read says why; if nothing is, reading says so
        send(sock, message, passed, limit)


class Reader:
    """Receives frames one after another from a blocking socket.

    Args:
        sock: a connected stream socket.
        what: name of the protocol, for error codes.
        limit: greatest frame in bytes.
    """

    def __init__(self, sock: socket.socket, what: str, limit: int = CONTROL_LIMIT) -> None:
        self._sock = sock
        self._what = what
        self._decoder = Decoder(limit, what)
        self._passed: list[int] = []

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and the descriptors that came with it (the caller closes them); None at the end.

        Raises:
            Malformed: `{what}-*`; `{what}-truncated` where the stream ends inside a frame.
            Unavailable: `peer-gone`.
        """
        try:
            while (message := self._decoder.take()) is None:
                if not self._fill():
                    self._end()
                    return None
        except BaseException:
            self.close()
            raise
        passed, self._passed = self._passed, []
        return message, passed

    def close(self) -> None:
        """Close descriptors that came with an unfinished frame."""
        close_all(self._passed)
        self._passed = []

    def _fill(self) -> bool:
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * _INT)
        try:
            wanted = min(_CHUNK, self._decoder.missing)
            data, ancillary, _, _ = self._sock.recvmsg(wanted, space, socket.MSG_CMSG_CLOEXEC)
        except TimeoutError:
            raise Unavailable("peer-silent", "The other side of the socket did not answer in time.") from None
        except OSError as error:
            raise Unavailable("peer-gone", f"The other side of the socket is gone: {error.strerror}.") from None
        self._passed += descriptors(ancillary)
        self._decoder.feed(data)
        return bool(data)

    def _end(self) -> None:
        self.close()
        if not self._decoder.idle:
            raise Malformed(f"{self._what}-truncated", "The connection ended inside a frame.")
