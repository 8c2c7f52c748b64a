"""`kloister simulator pcs`: the simulated platform's collateral over HTTPS, as Intel's PCS hands out real ones."""

from __future__ import annotations

import logging
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from kloister import clock, entropy
from kloister.errors import KloisterError, Unavailable
from kloister.serve.simulator import simulator
from kloister.serve.state import State
from kloister.services.broker import keys
from kloister.services.broker.binding import bind_tcp
from kloister.services.broker.listeners import server_context
from kloister.simulator.naming import PlatformName
from kloister.simulator.pcs import PcsAnswer, SimulatedPcs

DEFAULT_ADDRESS = "127.0.0.1:7444"
_PATIENCE = 10.0  # seconds for a request; a question to the daemon included
_ATTEMPTS = 20  # at a platform that another command holds at this moment
_PAUSE = 0.1  # seconds between them
_MAX_QUERY = 16  # parameters
_MAX_THREADS = 32  # requests at once
_CONTENT = b"kloister simulator pcs"  # of the enclave whose quote shows the platform's certificate
_LOG = logging.getLogger("kloister.pcs")

Answers = Callable[[str, Mapping[str, str]], PcsAnswer]


def run(state: State, address: str, ready: Callable[[str, Path | None], None], *, plain: bool = False) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        state: whose platform.
        address: `HOST:PORT`; port 0 takes a free one.
        ready: called with the URL and the file of the CA to trust (None without TLS) once requests are answered.
        plain: HTTP without TLS, for clients on this machine that cannot be given a CA. The documents are signed.

    Raises:
        Misconfigured: `port-in-use`, `listen-address`, `platform-*`, `key-*`.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    documents(state.platform)  # whatever is wrong with the platform is said now
    with bind_tcp(address) as sock:
        ca, context = (None, None) if plain else _certified(state.root / "pcs", address)
        with PcsServer(sock, in_turn(state.platform), context) as server:
            _until_signalled(server, lambda: ready(server.url, ca))


def in_turn(directory: Path) -> Answers:
    """Answers by what the platform publishes at each request; only one at a time can hold it."""
    turn = threading.Lock()

    def answers(path: str, query: Mapping[str, str]) -> PcsAnswer:
        with turn:
            found = documents(directory)
        return found.answer(path, query)

    return answers


def documents(directory: Path) -> SimulatedPcs:
    """What the platform below `directory` publishes at this moment. Raises `Unavailable`, `Misconfigured`."""
    for attempt in range(_ATTEMPTS):
        try:
            with simulator(directory) as platform:
                standard, early = platform.collateral(), platform.collateral(early=True)
                name = PlatformName.of(platform.quote_content(_CONTENT, bytes(64)))
        except KloisterError as error:
            if error.code != "platform-running" or attempt + 1 == _ATTEMPTS:
                raise
            time.sleep(_PAUSE)
        else:
            return SimulatedPcs(ca=name.ca, standard=standard, early=early, pck=name)
    raise Unavailable("platform-busy", "The platform is busy.", "Try again.")


class PcsServer(ThreadingHTTPServer):
    """Answers GET on a listening socket, which it owns.

    Args:
        sock: bound.
        answers: path and query to an answer.
        tls: None for plain HTTP.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, sock: Any, answers: Answers, tls: ssl.SSLContext | None) -> None:
        super().__init__(sock.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.answers = answers
        self._tls = tls
        self._places = threading.BoundedSemaphore(_MAX_THREADS)
        sock.listen()

    @property
    def url(self) -> str:
        """Where it is reached."""
        host, port = self.socket.getsockname()[:2]
        return f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One request; TLS begins here, so that a silent client holds up nobody else."""
        with self._places:
            request.settimeout(_PATIENCE)
            try:
                tls = self._tls.wrap_socket(request, server_side=True) if self._tls else request
            except OSError:
                self.shutdown_request(request)
                return
            super().process_request_thread(tls, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- fixed by socketserver
        """A client that went away is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            _LOG.error("a request failed: %s", type(sys.exception()).__name__)


class _Handler(BaseHTTPRequestHandler):
    server: PcsServer
    timeout = _PATIENCE
    server_version = "kloister"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one question; the connection ends with it."""
        parts = urlsplit(self.path)
        try:
            query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=_MAX_QUERY))
            answer = self.server.answers(parts.path, query)
        except ValueError:
            answer = PcsAnswer(400)
        except KloisterError as error:
            _LOG.warning("%s", error)
            answer = PcsAnswer(503)
        self._send(answer)

    def _send(self, answer: PcsAnswer) -> None:
        self.send_response(answer.status)
        self.send_header("Request-ID", entropy.identifier())
        if answer.content_type:
            self.send_header("Content-Type", answer.content_type)
        if answer.header:
            self.send_header(answer.header, quote(answer.chain, safe=""))
        for name, value in answer.more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- named by http.server
        """Method, path and status, without the query: it names a platform family."""
        _LOG.info("%s %s", urlsplit(self.path).path if hasattr(self, "path") else "-", args[1] if args[1:] else format)


def _certified(directory: Path, address: str) -> tuple[Path, ssl.SSLContext]:
    """The CA's file and TLS with a certificate of its; both are made the first time."""
    directory.mkdir(mode=0o700, exist_ok=True)
    now = clock.now()
    authority = keys.authority(directory, "ca", "Kloister Simulator PCS", now, entropy.draw)
    host = address.rpartition(":")[0].strip("[]")
    keys.leaf(directory, "tls", authority, list(dict.fromkeys(["localhost", "127.0.0.1", host])), now, entropy.draw)
    return directory / "ca.pem", server_context(directory / "tls.pem", directory / "tls.key")


def _until_signalled(server: PcsServer, ready: Callable[[], None]) -> None:
    came: SimpleQueue[int] = SimpleQueue()  # a handler may interrupt its `get`; an Event is locked at times
    stops = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, _: came.put(number)) for number in stops}
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        ready()
        came.get()
    finally:
        server.shutdown()
        thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)
