"""Starts, recognises and stops the stack's daemons by process id and start time, never by name."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kloister import clock
from kloister.errors import KloisterError, Misconfigured, Unavailable

if TYPE_CHECKING:
    import subprocess

_START_FIELD = 19  # proc(5), /proc/pid/stat field 22 (starttime), counted after the closing parenthesis of comm
_UCRED = struct.Struct("3i")  # struct ucred, unix(7): pid, uid, gid
_SAID = re.compile(r"^kloister: (.+) \[([a-z0-9-]+)\](?:\n  (.+))?$", re.MULTILINE)  # how a command fails
_STARTING = 60.0  # seconds; a daemon that fails says so at once, and a machine under load takes its time
_ENDING = 20.0  # seconds that a daemon may take to end, and to say so, before it is killed
_TAIL = 2000  # bytes of a log that an error quotes


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: int  # clock ticks since boot

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The living process `pid`, or None."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] == "Z" else cls(pid, int(fields[_START_FIELD]))

    @classmethod
    def from_json(cls, value: Any) -> Process | None:
        """The process that a stack document names, if it still lives."""
        if not isinstance(value, dict) or not isinstance(value.get("pid"), int):
            return None
        living = cls.of(value["pid"])
        return living if living and living.started == value.get("started") else None

    @classmethod
    def behind(cls, path: Path) -> Process | None:
        """The process that listens at a Unix socket, as the kernel knows it (SO_PEERCRED, unix(7)); None if none does.

        So a daemon is found again whose starter was killed before it could write down which process it is.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    sock.connect(f"/proc/self/fd/{directory}/{path.name}")  # a path may be longer than sun_path
                finally:
                    os.close(directory)
                pid: int = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
            except OSError:
                return None
        return cls.of(pid) if pid else None

    def as_json(self) -> dict[str, int]:
        """For the stack document."""
        return {"pid": self.pid, "started": self.started}

    def stop(self, patience: float = _ENDING) -> None:
        """SIGTERM, then SIGKILL after `patience` seconds; through a pidfd, so that the number cannot be reused."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if Process.of(self.pid) != self:
                return
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            if not select.select([descriptor], [], [], patience)[0]:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], patience)
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Starting:
    """A daemon that was started and is not ready yet."""

    name: str
    child: subprocess.Popen[bytes]
    log: Path
    begin: int  # bytes of its log that are of others

    def ready(self, door: Path, ready: Callable[[], bool], patience: float = _STARTING) -> Process:
        """Wait until `ready` says so and it is behind `door`.

        Another one that is behind the door holds the state: the new one says so and ends.

        Raises:
            Misconfigured: with the daemon's own code and sentence.
            Unavailable: `daemon-failed` with the end of its log, where it said nothing of the kind.
        """
        deadline = clock.monotonic() + patience
        while clock.monotonic() < deadline:
            if self.child.poll() is not None:
                break
            if _is_ready(ready):
                process = Process.behind(door)
                if process and process.pid == self.child.pid:
                    self.child.returncode = 0  # it outlives us on purpose: no warning about a child left running
                    return process
            select.select([], [], [], 0.02)
        self.abandon()
        raise _failure(self.name, self.log, self.begin)

    def abandon(self) -> None:
        """End it: it is not wanted any more."""
        self.child.kill()
        self.child.wait()


def start(name: str, arguments: Sequence[str], log: Path, door: Path, ready: Callable[[], bool]) -> Process:
    """Start a daemon and wait until it is ready. Raises as `Starting.ready`."""
    return begin(name, arguments, log).ready(door, ready)


def begin(name: str, arguments: Sequence[str], log: Path) -> Starting:
    """Start `kloister serve NAME ...` apart from this session."""
    import subprocess  # noqa: PLC0415 -- whoever only looks at processes, as each launch does, saves 3 ms

    command = [sys.executable, "-P", "-m", "kloister", "serve", name, *arguments]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as output:
        before = output.tell()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, close_fds=True,
            cwd="/", env=_environment(),
        )  # fmt: skip
    return Starting(name, child, log, before)


def awaited(door: Path, patience: float = _STARTING) -> Process | None:
    """The process behind a socket, as soon as there is one."""
    deadline = clock.monotonic() + patience
    while clock.monotonic() < deadline:
        if found := Process.behind(door):
            return found
        select.select([], [], [], 0.02)
    return None


def stop_all(processes: Sequence[Process]) -> None:
    """Stop them, all at once."""
    threads = [threading.Thread(target=process.stop) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _environment() -> dict[str, str]:
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "XDG_DATA_HOME",
        "XDG_CACHE_HOME",
        "PYTHONDONTWRITEBYTECODE",
        "VIRTUAL_ENV",
    )
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith("KLOISTER_")}


def _is_ready(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except (KloisterError, OSError):
        return False


def _failure(name: str, log: Path, begin: int) -> KloisterError:
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - _TAIL))
        said = file.read(_TAIL).decode("utf-8", "replace").strip()
    if found := list(_SAID.finditer(said)):
        text, code, hint = found[-1].groups(default="")
        return Misconfigured(code, text, hint)
    return Unavailable("daemon-failed", f"The {name} did not start: {said or 'it said nothing'}", f"Its log: {log}")
