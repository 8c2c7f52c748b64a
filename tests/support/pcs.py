"""A collateral service on loopback that speaks Intel's API, and fails in the ways that servers fail."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from kloister.services.broker.certificates import issue_ca, issue_leaf, key_pem, new_key, pem
from kloister.simulator.documents import TcbStage
from kloister.simulator.pcs import PcsAnswer, SimulatedPcs
from kloister.simulator.platform import SimulatedPlatform

Answers = Callable[[str, Mapping[str, str]], PcsAnswer]
Fault = Callable[["Handler", PcsAnswer], None]


def pcs_of(platform: SimulatedPlatform, at: datetime, early: TcbStage | None = None) -> SimulatedPcs:
    standard = platform.collateral(at)
    return SimulatedPcs(ca="platform", standard=standard, early=platform.collateral(at, early) if early else standard)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.close_connection = True
        self.server.asked.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        answer = self.server.answers(parts.path, dict(parse_qsl(parts.query)))
        fault = next(self.server.faults, None)
        with contextlib.suppress(OSError):
            if fault is None:
                self.good(answer)
            else:
                fault(self, answer)

    def good(self, answer: PcsAnswer, body: bytes | None = None, length: int | None = None) -> None:
        self.head(answer, len(answer.body) if length is None else length)
        self.wfile.write(answer.body if body is None else body)

    def head(self, answer: PcsAnswer, length: int, *more: tuple[str, str]) -> None:
        self.send_response(answer.status)
        if answer.content_type:
            self.send_header("Content-Type", answer.content_type)
        if answer.header:
            self.send_header(answer.header, quote(answer.chain))
        for name, value in more:
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, answers: Answers, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.faults: Iterator[Fault | None] = iter(())
        self.tls = tls

    def get_request(self) -> tuple[Any, Any]:
        sock, address = super().get_request()
        if self.tls:
            sock.settimeout(60)
            sock = self.tls.wrap_socket(sock, server_side=True)
        return sock, address

    def handle_error(self, *_: Any) -> None:
        """Broken connections are what the tests are about."""

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.server_address[1]}"

    def fail(self, *faults: Fault | None) -> None:
        """The next requests meet these, in order; None is a good answer."""
        self.faults = iter(faults)

    def always(self, fault: Fault) -> None:
        self.faults = itertools.repeat(fault)


@contextlib.contextmanager
def serving(answers: Answers, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(answers, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certified(directory: Path, names: tuple[str, ...] = ("127.0.0.1",)) -> tuple[Path, ssl.SSLContext]:
    """The file of a CA, and a server's context with a certificate that it issued."""
    key, leaf_key, now = new_key(), new_key(), datetime.now(UTC)
    authority = issue_ca("test CA", key, now, b"\x01" * 16)
    leaf = issue_leaf("pcs", names, leaf_key, (authority, key), now, b"\x02" * 16, timedelta(days=1))
    (directory / "ca.pem").write_bytes(pem(authority))
    (directory / "tls.pem").write_bytes(pem(leaf) + key_pem(leaf_key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.pem")
    return directory / "ca.pem", context


def status(code: int, *headers: tuple[str, str]) -> Fault:
    def fault(handler: Handler, _: PcsAnswer) -> None:
        handler.head(PcsAnswer(code), 0, *headers)

    return fault


def reset(handler: Handler, _: PcsAnswer) -> None:
    """RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang_up(handler: Handler, _: PcsAnswer) -> None:
    """Closed without a byte."""


def truncated(handler: Handler, answer: PcsAnswer) -> None:
    handler.good(answer, answer.body[: len(answer.body) // 2])


def silent(handler: Handler, _: PcsAnswer) -> None:
    """Nothing, until the client leaves."""
    handler.connection.settimeout(20)
    handler.connection.recv(1)


def slow(handler: Handler, answer: PcsAnswer) -> None:
    """A byte now and then: no single read takes long."""
    handler.head(answer, len(answer.body))
    stop = threading.Event()
    for byte in answer.body:
        handler.wfile.write(bytes([byte]))
        stop.wait(0.05)


def slow_headers(handler: Handler, _: PcsAnswer) -> None:
    stop = threading.Event()
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1000:
        handler.wfile.write(bytes([byte]))
        stop.wait(0.05)


def oversized(handler: Handler, answer: PcsAnswer) -> None:
    """More than it says: chunked, so that the length is not known before."""
    handler.send_response(200)
    handler.send_header("Content-Type", answer.content_type)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for _ in range(100):
        handler.wfile.write(piece)
    handler.wfile.write(b"0\r\n\r\n")


def announced_oversized(handler: Handler, answer: PcsAnswer) -> None:
    handler.head(answer, 1 << 40)


def not_http(handler: Handler, _: PcsAnswer) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def changed(**parts: Any) -> Fault:
    """The good answer with other content type, body, header or chain."""

    def fault(handler: Handler, answer: PcsAnswer) -> None:
        fields = {name: getattr(answer, name) for name in ("status", "content_type", "body", "header", "chain")}
        for name, value in parts.items():
            fields[name] = value(fields[name]) if callable(value) else value
        handler.good(PcsAnswer(**fields))

    return fault
