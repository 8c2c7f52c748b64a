"""What a program and the processes below it use, seen from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12  # of /proc/PID/stat, counted behind the name


@dataclass(slots=True)
class Watched:
    """The largest values seen so far.

    Attributes:
        cpu: seconds of user and system time by process.
        resident: bytes of all processes together; pages that several share count once for each.
        proportional: the same, each page counted once.
    """

    cpu: dict[int, float] = field(default_factory=dict)
    resident: int = 0
    proportional: int = 0

    def look(self, top: int) -> None:
        """Look at a process and all below it."""
        resident = proportional = 0
        for pid in _tree(top):
            try:
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                memory = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
            except OSError:  # it has just ended
                continue
            self.cpu[pid] = (int(stat[_UTIME]) + int(stat[_STIME])) / _TICK
            resident += int(memory[memory.index("Rss:") + 1]) * 1024
            proportional += int(memory[memory.index("Pss:") + 1]) * 1024
        self.resident, self.proportional = max(self.resident, resident), max(self.proportional, proportional)


def _tree(top: int) -> Iterator[int]:
    yield top
    try:
        children = [int(pid) for task in Path(f"/proc/{top}/task").iterdir() for pid in _children(task)]
    except OSError:
        return
    for child in children:
        yield from _tree(child)


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()
