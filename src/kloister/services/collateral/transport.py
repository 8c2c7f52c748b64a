"""HTTP for collateral: GET, no redirects, every answer bounded in bytes and in time. Foreign errors end here."""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, Self
from urllib.parse import urlsplit

from kloister.errors import KloisterError, Malformed, Misconfigured, Unavailable, Unverified
from kloister.services.collateral.model import MAX_BODY

_CHUNK = 64 * 1024  # bytes read at a time
_MAX_PORT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is asked: scheme, host and port. Plain HTTP is for loopback only."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """The endpoint of a URL.

        Raises:
            Misconfigured: `source-url`, `source-plain`.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or {"https": 443, "http": 80}[parts.scheme]
        except (ValueError, KeyError):
            raise _unfit() from None
        if not parts.hostname or parts.username is not None or parts.fragment or not url.isascii():
            raise _unfit()
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise Misconfigured(
                "source-plain",
                f"The source {parts.hostname} would be asked without TLS.",
                "Use https; plain http is for sources on this machine (127.0.0.1).",
            )
        return cls(parts.scheme, parts.hostname, port)

    @property
    def name(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _unfit() -> Misconfigured:
    return Misconfigured(
        "source-url",
        "A source's address must be https://HOST[:PORT][/PATH], without user name and fragment.",
        "Give it as --source KIND+URL, for instance pccs+https://localhost:8081.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Request:
    """A GET. The query may name a chip and the headers hold a key: neither stands in logs or errors."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    limit: int = MAX_BODY  # bytes of the answer's body


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Names of headers are in lower case; of one that is there twice the first counts."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Transport(Protocol):
    """Asks one server one question."""

    def get(self, request: Request, deadline: float) -> Answer:
        """The answer, complete before `deadline` (of the monotonic clock).

        Raises:
            Unavailable: `source-timeout`, `source-name`, `source-connection`, `source-truncated`.
            Unverified: `source-certificate`. Malformed: `source-protocol`, `source-size`.
            Misconfigured: `source-host`, `source-url`, `source-plain`.
        """


class HttpTransport:
    """HTTP/1.1 over TLS by the standard library.

    Args:
        allowed: the only endpoints that may be asked.
        tls: verifies servers; its roots decide whom.
        monotonic: the clock of deadlines.
    """

    def __init__(self, allowed: frozenset[Endpoint], tls: ssl.SSLContext, monotonic: Callable[[], float]) -> None:
        self._allowed = allowed
        self._tls = tls
        self._monotonic = monotonic

    def get(self, request: Request, deadline: float) -> Answer:
        """See `Transport.get`."""
        endpoint = Endpoint.of(request.url)
        if endpoint not in self._allowed:
            raise Misconfigured("source-host", f"{endpoint.name} is not among the sources.", "Add it by --source URL.")
        with _mapped(endpoint.name), _Connection(endpoint, self._tls, self._left(deadline)) as connection:
            parts = urlsplit(request.url)
            connection.request("GET", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", request.headers)
            return connection.answer(request.limit)

    def _left(self, deadline: float) -> Callable[[], float]:
        def left() -> float:
            remaining = deadline - self._monotonic()
            if remaining <= 0:
                raise TimeoutError
            return remaining

        return left


class _Connection:
    """One connection for one request; every wait is as long as what is `left` of the whole."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext, left: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._left = left
        sock = socket.create_connection((endpoint.host, endpoint.port), timeout=left())
        try:
            if endpoint.scheme == "https":
                sock.settimeout(left())
                sock = tls.wrap_socket(sock, server_hostname=endpoint.host)
        except BaseException:
            sock.close()
            raise
        self._sock = sock
        self._http = http.client.HTTPConnection(endpoint.host, endpoint.port)
        self._http.sock = _Timed(sock, left)  # http.client needs sendall, makefile and close only

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()
        self._sock.close()

    def request(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send it; the connection is closed after the answer."""
        self._http.request(method, target, headers={**headers, "Connection": "close", "Accept-Encoding": "identity"})

    def answer(self, limit: int) -> Answer:
        """Read status, headers and a body of at most `limit` bytes."""
        response = self._http.getresponse()
        headers: dict[str, str] = {}
        for name, value in response.getheaders():
            headers.setdefault(name.lower(), value)
        if (response.length or 0) > limit:
            raise _too_large(self._endpoint.name, limit)
        body = bytearray()
        while part := response.read1(_CHUNK):
            body += part
            if len(body) > limit:
                raise _too_large(self._endpoint.name, limit)
        if response.length:
            raise http.client.IncompleteRead(b"")
        return Answer(response.status, headers, bytes(body))


class _Timed:
    """As much of a socket as http.client uses; `_Connection` closes the real one."""

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self._sock = sock
        self._left = left

    def sendall(self, data: bytes) -> None:
        """As a socket's."""
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What http.client reads the answer from."""
        return io.BufferedReader(_Incoming(self._sock, self._left))

    def close(self) -> None:
        """Left to `_Connection`: http.client closes it before it has read the answer."""


class _Incoming(io.RawIOBase):
    """Reads until nothing is left of the time: an answer in drips would outlast a timeout per read."""

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        super().__init__()
        self._sock = sock
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # narrower: only BufferedReader calls it
        self._sock.settimeout(self._left())
        return self._sock.recv_into(buffer)


def _too_large(name: str, limit: int) -> Malformed:
    return Malformed("source-size", f"The answer of {name} has more than {limit} bytes.")


@contextmanager
def _mapped(name: str) -> Iterator[None]:
    """The one place where errors of http.client, ssl and sockets become ours."""
    try:
        yield
    except KloisterError:
        raise
    except TimeoutError:
        raise Unavailable("source-timeout", f"{name} did not answer in time.") from None
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message or "not for this name"
        raise Unverified(
            "source-certificate",
            f"The certificate of {name} is not trusted: {why}.",
            "For a source with a CA of its own give that CA: --source-ca FILE.",
        ) from None
    except http.client.IncompleteRead:
        raise Unavailable("source-truncated", f"The answer of {name} broke off.") from None
    except socket.gaierror:
        raise Unavailable("source-name", f"The name of {name} could not be resolved.") from None
    except OSError as error:  # ssl.SSLError, RemoteDisconnected and all that connect() says are among them
        why = error.strerror or type(error).__name__
        raise Unavailable("source-connection", f"The connection to {name} failed: {why}.") from None
    except (http.client.HTTPException, ValueError):
        raise Malformed("source-protocol", f"{name} does not speak HTTP as it should.") from None
