"""Where daemons listen: an address of TCP, or a Unix socket of their owner's; nothing of the server that listens."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from kloister.errors import Misconfigured


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises `Misconfigured` `listen-address`."""
    host, colon, port = address.rpartition(":")
    host = host.strip("[]")
    digits = port.isascii() and port.isdigit() and len(port) <= 5  # noqa: PLR2004  65535
    if not colon or not host or not digits or int(port) > 65535:  # noqa: PLR2004  u16
        raise Misconfigured("listen-address", f"{address} is not HOST:PORT.", "For instance 127.0.0.1:7443.")
    return host, int(port)


def bind_tcp(address: str) -> socket.socket:
    """A socket bound to `HOST:PORT` or `[IPV6]:PORT`.

    Raises:
        Misconfigured: `listen-address`, `port-in-use`.
    """
    host, port = parse_address(address)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Misconfigured("listen-address", f"{address}: {error.strerror}.", "Choose another address.") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise Misconfigured(
                "port-in-use",
                f"Another program listens at {address} already.",
                f"Choose another address, or see who it is: ss -ltnp 'sport = :{port}'",
            ) from None
        raise Misconfigured("listen-address", f"{address}: {error.strerror}.", "Choose another address.") from None
    sock.setblocking(False)
    return sock


def bind_unix(path: Path) -> socket.socket:
    """A Unix socket of mode 0600; one that a killed process left behind is replaced.

    The caller holds the lock of the state directory, so that nobody listens there.
    """
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:
        # by way of the descriptor: a path may be longer than the 107 bytes that sun_path takes (unix(7))
        sock.bind(f"/proc/self/fd/{directory}/{path.name}")
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
        os.close(directory)
    sock.setblocking(False)
    return sock
