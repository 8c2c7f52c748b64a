from __future__ import annotations

import contextlib
import os
import resource
import socket
from pathlib import Path

from kloister import entropy
from kloister.errors import Misconfigured
from kloister.kubernetes.node.quotes.settings import QuoteSettings

_BACKLOG = 4096  # connections that wait to be accepted, as many as kernels allow; who comes later waits in connect(2)
_RESERVE = 128  # descriptors for everything else in this process


class Listeners:
    """The sockets that the helper listens at.

    The path is replaced at once by a socket that is ready, so that an instance that starts beside an old one takes
    over without a moment at which nobody listens; an instance that ends removes the socket only if it is still its own.

    Args:
        settings: where.

    Raises:
        Misconfigured: `quote-socket`.
    """

    def __init__(self, settings: QuoteSettings) -> None:
        self._path = settings.path
        self.sockets: list[socket.socket] = []
        try:
            self.sockets.append(_at_path(settings.path, settings.mode))
            self._own = _identity(settings.path)
            if settings.abstract:
                self.sockets.append(_listening(f"\0{settings.abstract}"))
        except OSError as error:
            self.close()
            raise Misconfigured(
                "quote-socket",
                f"The helper cannot listen at {settings.path}: {error.strerror}.",
                "Give it a folder that it may write to, and a name that no other service of the host uses.",
            ) from None

    def close(self) -> None:
        """Listen no more."""
        for sock in self.sockets:
            sock.close()
        with contextlib.suppress(OSError):
            if self.sockets and _identity(self._path) == self._own:
                self._path.unlink()


def _at_path(path: Path, mode: int) -> socket.socket:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # By way of the descriptor: a path may be longer than the 107 bytes that sun_path takes (unix(7)).
        here, fresh = Path(f"/proc/self/fd/{directory}"), f".{path.name}.{entropy.identifier()[:8]}"
        sock = _listening(str(here / fresh))
        try:
            os.chmod(fresh, mode, dir_fd=directory)
            os.rename(fresh, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            sock.close()
            os.unlink(fresh, dir_fd=directory)
            raise
        return sock
    finally:
        os.close(directory)


def _listening(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_ctime_ns  # inode numbers alone are used again


def affordable(connections: int) -> int:
    """How many connections this process has descriptors for, after it has raised its own limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _RESERVE
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(connections, soft - _RESERVE))
