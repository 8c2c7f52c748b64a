"""Which pod a connection comes from: the kernel names the process that connected, its cgroups name the pod."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from kloister.tee.simulated.identity import alive

_SO_PEERPIDFD = 77  # Linux 6.5; linux/asm-generic/socket.h
_UCRED = struct.Struct("3i")  # struct ucred, unix(7): pid, uid, gid
_MOST_READ = 64 * 1024  # bytes of /proc/PID/cgroup and the like
_PID = re.compile(r"^Pid:\t(\d+)$", re.MULTILINE)
_UID = r"[0-9a-f]{8}[-_]?(?:[0-9a-f]{4}[-_]?){3}[0-9a-f]{12}"  # of a pod; a static pod's is a hash without hyphens
_POD = re.compile(rf"(?:^|-)pod({_UID})(?:\.slice)?(?::(.*))?$")
_CONTAINER = re.compile(r"(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        uid: of the process that connected.
        pid: its number, as seen from here; 0 where it cannot be seen.
        pod: uid of its pod; empty outside of pods and where it cannot be told.
        container: id of its container, likewise.
        gone: whether it had ended before it was looked up.
    """

    uid: int
    pid: int
    pod: str = ""
    container: str = ""
    gone: bool = False

    @property
    def key(self) -> str:
        """Who shares limits: a pod's processes, or a user's outside of pods."""
        return f"pod/{self.pod}" if self.pod else f"{'gone' if self.gone else 'uid'}/{self.uid}"


def pod_of(cgroups: str) -> tuple[str, str]:
    """Pod uid and container id of a process by its /proc/PID/cgroup, empty where there are none.

    Both versions of cgroups, the names of kubelet's drivers `cgroupfs` and `systemd`, and those of containerd, CRI-O
    and Docker below them. The outermost pod counts: a process may make cgroups inside its own, not outside.
    """
    for line in cgroups.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:  # noqa: PLR2004 (hierarchy, controllers, path: cgroups(7))
            segments = parts[2].split("/")
            for index, segment in enumerate(segments):
                found = _POD.search(segment)
                if found:
                    below = found[2] or next(iter(segments[index + 1 :]), "")
                    container = _CONTAINER.search(below)
                    return found[1].replace("_", "-"), container[1] if container else ""
    return "", ""


class Callers:
    """Looks callers up.

    Args:
        proc: where processes are listed; /proc of the host's pid namespace, wherever it is mounted.
    """

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._ours = proc == Path("/proc")  # so that its numbers are those that the kernel tells us

    def of(self, sock: socket.socket) -> Caller:
        """Who connected an accepted Unix socket; nothing that the caller sends has a part in it."""
        pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        try:
            pidfd = _pidfd(sock)
        except OSError:
            return Caller(uid, max(0, pid), gone=True)
        try:
            return self._named(uid, pid, pidfd)
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def _named(self, uid: int, pid: int, pidfd: int | None) -> Caller:
        try:
            if pidfd is not None and not (self._ours and pid > 0):
                pid = self._number(pidfd)
            pid = max(0, pid)  # 0: a process that this /proc does not show
            pod, container = pod_of(self._read(f"{pid}/cgroup")) if pid else ("", "")
        except OSError:
            return Caller(uid, max(0, pid), gone=True)
        # Alive after reading, it proves that the number was still its own (kernels before 6.5 cannot tell).
        if pidfd is not None and not alive(pidfd):
            return Caller(uid, pid, gone=True)
        return Caller(uid, pid, pod, container)

    def _number(self, pidfd: int) -> int:
        """The number of a process in the pid namespace of `proc`; 0 if it is not seen there (fdinfo of a pidfd)."""
        found = _PID.search(self._read(f"self/fdinfo/{pidfd}"))
        return int(found[1]) if found else 0

    def _read(self, name: str) -> str:
        descriptor = os.open(f"{self._proc}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _MOST_READ).decode("utf-8", "replace")
        finally:
            os.close(descriptor)


def _pidfd(sock: socket.socket) -> int | None:
    """A descriptor of the process that connected; None where the kernel has none to give, OSError if it has ended."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return None
        raise
