"""What the platform remembers of attached containers, so that its own restart does not take their enclaves away.

A processor loses its enclaves with its power, and their applications with them. Here only the daemon was started anew:
the container's first process still runs. Its enclave is built again from the same bytes, for that very process, which
is told from every other by its number, its start, its pid namespace, and the kernel's present boot.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kloister.errors import KloisterError, Malformed
from kloister.formats.protocol.allocations import Attach
from kloister.formats.wire import canonical_json
from kloister.tee.simulated import identity

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STARTED = 19  # field 22 of /proc/PID/stat, counted behind the name in parentheses (proc(5))


@dataclass(frozen=True, slots=True)
class Remembered:
    """An attached container.

    Attributes:
        request: with which bytes its enclave was built.
        pid: number of its first process, as the platform sees it.
        mark: what tells this process from a later one of the same number.
    """

    request: Attach
    pid: int
    mark: tuple[str, ...]

    @classmethod
    def of(cls, request: Attach, first: int) -> Self:
        """Of the process of a pidfd. Raises OSError where it has ended."""
        pid = identity.number(first)
        return cls(request, pid, _mark(pid, first))

    def build(self) -> bytes:
        """The record."""
        return canonical_json({"attach": self.request.build(), "pid": self.pid, "mark": list(self.mark)})

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The record in these bytes. Raises `Malformed` `attached-record`, `allocation-*`."""
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            raise _damaged() from None
        if not isinstance(value, dict) or value.keys() != {"attach", "pid", "mark"}:
            raise _damaged()
        attach, pid, mark = value["attach"], value["pid"], value["mark"]
        if not isinstance(attach, dict) or type(pid) is not int or pid < 1:
            raise _damaged()
        if not isinstance(mark, list) or not all(isinstance(part, str) for part in mark):
            raise _damaged()
        return cls(Attach.parse(attach), pid, tuple(mark))

    def open(self) -> int | None:
        """A pidfd of the process, which the caller closes; None where it has ended."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return None
        try:
            if _mark(self.pid, pidfd) == self.mark and identity.alive(pidfd):  # alive last: the number was its own
                return pidfd
        except OSError:
            pass
        os.close(pidfd)
        return None


def recall(data: bytes | None) -> tuple[Attach, int] | None:
    """The request and the pidfd of a record whose process lives."""
    try:
        remembered = Remembered.parse(data) if data is not None else None
    except KloisterError:
        return None
    pidfd = remembered.open() if remembered is not None else None
    return (remembered.request, pidfd) if remembered is not None and pidfd is not None else None


def _damaged() -> Malformed:
    return Malformed("attached-record", "The record of an attached container is damaged.", "Start the container anew.")


def _mark(pid: int, pidfd: int) -> tuple[str, ...]:
    """Boot, start since then in clock ticks, and pid namespace. Raises OSError."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    own = identity.pid_namespace(pidfd)
    started = stat.rpartition(")")[2].split()[_STARTED]
    return _BOOT.read_text(encoding="ascii").strip(), started, f"{own.device}:{own.inode}"
