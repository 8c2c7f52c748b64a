"""The daemon's side of the spawner: forked before any key is read, so that nothing it starts can hold one."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence

from kloister.errors import Unavailable
from kloister.formats.protocol.spawner import StartRequest
from kloister.tee.simulated.framing import send
from kloister.tee.simulated.ports import Spawner

_PATIENCE = 10.0  # seconds; the spawner only forks, so a full socket means that it hangs


class SpawnerLink:
    """The daemon's end of the socket pair to the spawner, and its process."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        sock.settimeout(_PATIENCE)
        self._sock = sock
        self._pid = pid

    @classmethod
    def fork(cls, serve: Spawner) -> SpawnerLink:
        """Fork a child that runs `serve` until this end closes. Call it before fuses are read and threads exist."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _serve(serve, theirs)
        theirs.close()
        return cls(ours, pid)

    def start(self, request: StartRequest, descriptors: Sequence[int]) -> None:
        """Ask for a sandbox; the descriptors stay the caller's.

        Raises:
            Unavailable: `spawner-gone`.
        """
        try:
            send(self._sock, request.build(), descriptors)
        except Unavailable:
            raise Unavailable(
                "spawner-gone",
                "The process that starts sandboxes is gone.",
                "Start the platform anew: `kloister down`, then `kloister up`.",
            ) from None

    def close(self) -> None:
        """Let the spawner end and reap it."""
        self._sock.close()
        os.waitpid(self._pid, 0)


def _serve(serve: Spawner, sock: socket.socket) -> None:
    status = 1
    try:
        os.setsid()  # a terminal's Ctrl-C is the daemon's business
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        serve(sock)
        status = 0
    finally:
        # Whatever happened, this child must not run on into its parent's code.
        if status:
            sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(status)
