"""TLS to a peer that is known by its certificate authority alone, and the little HTTP that we speak over it.

The address comes from somebody who is not trusted, so its name proves nothing and is not compared with the
certificate: the pinned CA is the identity, and it signs nobody's server but the one it was made for.

`http.client` would do, but importing it costs a workload's start 18 ms (it reads headers as e-mail).
"""

from __future__ import annotations

import hashlib
import socket
import ssl

from kloister.clock import monotonic
from kloister.errors import KloisterError, Malformed, Misconfigured, Unavailable, Unverified
from kloister.formats.wire import Cursor

_MAX_HEAD = 16 << 10  # bytes of status line and headers: a proxy's worst, ours have 200
_CHUNK = 64 << 10  # bytes read at once
_MAX_PORT = 65535
_SEQUENCE, _VERSION = 0x30, 0xA0  # DER tags: SEQUENCE; [0] EXPLICIT, RFC 5280 4.1 `version`
_LONG = 0x80  # X.690 8.1.3.5: from here on the length stands in further bytes


class Connection:
    """One TLS 1.3 connection for a few requests in a row, all of them before one deadline.

    Args:
        address: `HOST:PORT` or `[IPV6]:PORT`, not trusted.
        ca: the only trusted certificates, PEM.
        seconds: for everything that happens on this connection.

    Raises:
        Misconfigured: `broker-address`, `broker-ca`.
        Unavailable: `broker-unreachable`.
        Unverified: `broker-impostor`.
    """

    def __init__(self, address: str, ca: str, seconds: float) -> None:
        self._address = address
        self._deadline = monotonic() + seconds
        context = _context(ca)
        try:
            plain = socket.create_connection(
                _split(address),  # type: ignore[arg-type]  # bytes are taken as host, though typeshed does not say so
                timeout=seconds,
            )
        except OSError as error:
            raise self._unreachable(error) from None
        try:
            self._socket = context.wrap_socket(plain)
        except OSError as error:
            plain.close()
            raise self._failed(error) from None

    @property
    def peer_key(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo (DER) of the certificate that the peer proved to hold."""
        certificate = self._socket.getpeercert(binary_form=True)
        return hashlib.sha256(subject_public_key_info(certificate or b"")).digest()

    def post(self, path: str, body: bytes, limit: int) -> tuple[int, bytes]:
        """Send JSON and return the status and the body of at most `limit` bytes.

        Raises:
            Unavailable: `broker-unreachable`, the connection broke or the deadline passed.
            Malformed: `broker-response`, what came is not the HTTP that we speak, or longer than `limit`.
        """
        head = f"POST {path} HTTP/1.1\r\nHost: {self._address}\r\nContent-Type: application/json\r\n"
        try:
            self._patience()
            self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body)
            return self._receive(limit)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """End the connection; nothing is waited for."""
        self._socket.close()

    def _receive(self, limit: int) -> tuple[int, bytes]:
        received = bytearray()
        while b"\r\n\r\n" not in received:
            if len(received) > _MAX_HEAD:
                raise _bad_response("its headers do not end")
            received += self._some()
        head, _, rest = bytes(received).partition(b"\r\n\r\n")
        status, size = _parse_head(head)
        if size > limit:
            raise _bad_response(f"it announces {size} bytes, and at most {limit} are read")
        body = bytearray(rest)
        while len(body) < size:
            body += self._some()
        if len(body) > size:
            raise _bad_response("more bytes follow than it announced")
        return status, bytes(body)

    def _some(self) -> bytes:
        self._patience()
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ConnectionResetError("the connection ended inside a response")
        return data

    def _patience(self) -> None:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self._socket.settimeout(left)

    def _failed(self, error: Exception) -> KloisterError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unverified(
                "broker-impostor",
                f"Whoever answers at {self._address} is not the broker that this image was made for: "
                f"{error.verify_message}.",
                "Point the workload at its own broker, or convert the image again for this one.",
            )
        return self._unreachable(error)

    def _unreachable(self, error: Exception) -> Unavailable:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        return Unavailable(
            "broker-unreachable",
            f"The broker cannot be reached at {self._address}: {reason}.",
            "Check that it is running (kloister status) and that the address is right.",
        )


def _context(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # see the top of this file: the CA is the identity
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError):
        raise Misconfigured("broker-ca", "The broker's certificate authority in the image cannot be read.") from None
    return context


def _split(address: str) -> tuple[bytes, int]:
    """Host and port; the host as bytes, because text would load a codec for international names (5 ms)."""
    host, colon, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= len(str(_MAX_PORT)) else 0
    if not colon or not 0 < number <= _MAX_PORT or not host.isascii() or not host.isprintable() or not host:
        raise Misconfigured(
            "broker-address", "The broker's address is not HOST:PORT.", "Give it as --broker HOST:PORT."
        )
    return host.encode("ascii"), number


def _parse_head(head: bytes) -> tuple[int, int]:
    """Status and length of the body (RFC 9112, sections 4 and 6.2); chunked bodies are not spoken."""
    line, *headers = head.split(b"\r\n")
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    lengths = [
        value.strip() for key, _, value in (h.partition(b":") for h in headers) if key.lower() == b"content-length"
    ]
    if not version.startswith(b"HTTP/1.") or not code.isdigit() or len(lengths) != 1 or not lengths[0].isdigit():
        raise _bad_response("it is not HTTP/1.1 with one Content-Length")
    if len(lengths[0]) > 15:  # noqa: PLR2004 -- digits: a petabyte; longer numbers are only slow to read
        raise _bad_response("its length is beyond all limits")
    return int(code), int(lengths[0])


def _bad_response(why: str) -> Malformed:
    return Malformed("broker-response", f"The broker's response cannot be read: {why}.")


def subject_public_key_info(certificate: bytes) -> bytes:
    """The DER of the SubjectPublicKeyInfo inside a certificate's DER (RFC 5280, section 4.1).

    A walk over seven elements; `cryptography.x509` says the same but costs 40 ms to import.

    Raises:
        Malformed: `certificate-truncated`, `certificate-der`.
    """
    body = _inner(_inner(certificate))
    cursor = Cursor(body, "certificate")
    if body[:1] == bytes([_VERSION]):
        _element(cursor)
    for _ in ("serialNumber", "signature", "issuer", "validity", "subject"):
        _element(cursor)
    start = cursor.offset
    _element(cursor)
    if body[start] != _SEQUENCE:
        raise Malformed("certificate-der", "The certificate has no public key where one belongs.")
    return body[start : cursor.offset]


def _inner(data: bytes) -> bytes:
    cursor = Cursor(data, "certificate")
    if data[:1] != bytes([_SEQUENCE]):
        raise Malformed("certificate-der", "The certificate is not a DER sequence.")
    return _element(cursor)


def _element(cursor: Cursor) -> bytes:
    """The content of the next element (X.690 8.1)."""
    cursor.take(1, "tag")
    size = cursor.uint(1, "length")
    if size > _LONG:
        size = int.from_bytes(cursor.take(size - _LONG, "length"), "big")
    return cursor.take(size, "content")
