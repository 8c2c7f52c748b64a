"""Starts, recognises and stops the stack's daemons by process id and start time, never by name."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloister import clock
from kloister.errors import KloisterError, Misconfigured, Unavailable

_START_FIELD = 19  # proc(5), /proc/pid/stat field 22 (starttime), counted after the closing parenthesis of comm
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "XDG_DATA_HOME", "XDG_CACHE_HOME", "PYTHONDONTWRITEBYTECODE")
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

    def as_json(self) -> dict[str, int]:
        """For the stack document."""
        return {"pid": self.pid, "started": self.started}

    def stop(self, patience: float = 5.0) -> None:
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


def start(name: str, arguments: Sequence[str], log: Path, ready: Callable[[], bool], patience: float = 15.0) -> Process:
    """Start `kloister serve NAME ...` apart from this session and wait until `ready` says so.

    Raises:
        Unavailable: `daemon-failed` with the end of its log.
    """
    import subprocess  # noqa: PLC0415 -- whoever only looks at processes, as each launch does, saves 3 ms

    command = [sys.executable, "-P", "-m", "kloister", "serve", name, *arguments]
    with log.open("ab") as output:
        begin = output.tell()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, close_fds=True,
            cwd="/", env=_environment(),
        )  # fmt: skip
    deadline = clock.monotonic() + patience
    while clock.monotonic() < deadline:
        if child.poll() is not None:
            break
        if _is_ready(ready):
            child.returncode = 0  # it outlives us on purpose: no warning about a child left running
            process = Process.of(child.pid)
            if process:
                return process
        select.select([], [], [], 0.02)
    child.kill()
    child.wait()
    raise _failure(name, log, begin)


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
    if "port-in-use" in said:
        return Misconfigured(
            "port-in-use", said.splitlines()[0], "Choose another with `kloister up --listen HOST:PORT`."
        )
    return Unavailable("daemon-failed", f"The {name} did not start: {said or 'it said nothing'}", f"Its log: {log}")
