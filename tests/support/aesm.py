"""A client of AESM that blocks, as Gramine's does: one connection for each request."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import ECDSA_P256, Answer, Request

BUFFER = 8192  # bytes; what Gramine has its quotes padded to


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly that many bytes; fewer if the other side ends first."""
    data = b""
    while len(data) < size and (chunk := sock.recv(size - len(data))):
        data += chunk
    return data


@dataclass(frozen=True, slots=True)
class AesmClient:
    """Asks the helper at `address`, a path or, behind a NUL, an abstract name."""

    address: str | Path
    patience: float = 30.0

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A connection."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(self.address))  # waits where the queue is full; with a time-out set it would fail at once
            sock.settimeout(self.patience)
            yield sock

    def raw(self, data: bytes) -> bytes:
        """The answer's message to bytes of any kind; empty where the connection ends without one."""
        with self.connected() as sock:
            try:
                sock.sendall(data)
                prefix = receive(sock, aesm.PREFIX)
                return receive(sock, aesm.frame_size(prefix, aesm.RESPONSE_LIMIT)) if prefix else b""
            except ConnectionError:
                return b""

    def ask(self, request: Request) -> Answer:
        """The answer to a request."""
        return aesm.parse_answer(self.raw(aesm.frame(aesm.build_request(request))))

    def init(self) -> Answer:
        """InitQuoteEx as Gramine calls it."""
        return self.ask(aesm.InitQuote(ECDSA_P256, want_key=True, size=32))

    def target_info(self) -> bytes:
        """Who reports are to be made for."""
        info = self.init().target_info
        assert info is not None
        return info

    def get(self, report: bytes, wrap: bytes | None = None) -> Answer:
        """GetQuoteEx as Gramine calls it, or with `wrap` as qe_report_info."""
        return self.ask(aesm.GetQuote(report, ECDSA_P256, wrap, BUFFER))


def unpadded(quote: bytes | None) -> bytes:
    """A quote without the padding to the buffer's size."""
    assert quote is not None
    at = aesm.QUOTE_SIZE_AT
    return quote[: at + 4 + int.from_bytes(quote[at : at + 4], "little")]
