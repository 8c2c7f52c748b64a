"""Control groups of the bed: below the caller's own, so that its limits hold, and found again by their name."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.bed.processes import BedError

_ROOT = Path("/sys/fs/cgroup")
_PATIENCE = 120.0  # seconds that killed processes may take to end


def hierarchies() -> dict[str, Path]:
    """Mount options of each version 1 hierarchy -> the caller's own group in it.

    Raises:
        BedError: this machine has version 2 only, which Kubernetes 1.20 does not know well enough.
    """
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path.strip("/")
    mounted = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split(" ")
        controllers = Path(place).name
        found = next((name for name in own if name in (controllers, f"name={controllers}")), None)
        if kind == "cgroup" and found is not None:
            mounted[found] = Path(place) / own[found]
    missing = {"cpu", "cpuacct", "cpuset", "memory"} - {name for names in mounted for name in names.split(",")}
    if missing:
        raise BedError(f"no control groups (version 1) of {', '.join(sorted(missing))} are mounted on this machine")
    return mounted


def create(name: str) -> list[Path]:
    """The group `name` in every hierarchy; returns the files that a process joins by."""
    files = []
    for group in hierarchies().values():
        place = group
        for part in Path(name).parts:
            place /= part
            place.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # a new group has none and takes no process
                if (place / setting).exists() and not (place / setting).read_text().strip():
                    (place / setting).write_text((place.parent / setting).read_text())
        files.append(place / "cgroup.procs")
    return files


def processes(name: str) -> set[int]:
    """Everything that runs in the groups of this name, wherever they are."""
    found: set[int] = set()
    for group in named(name):
        for directory, _, _ in os.walk(group):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()}
    return found - {0}


def remove(name: str) -> None:
    """Kill what runs in the groups of this name, then remove them.

    Raises:
        BedError: something cannot be killed.
    """
    deadline = time.monotonic() + _PATIENCE
    while left := processes(name):
        if time.monotonic() > deadline:
            raise BedError(f"these processes of {name} do not end: {sorted(left)}")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for group in list(named(name)):
        for directory, _, _ in os.walk(group, topdown=False):
            _remove(Path(directory), deadline)


def _remove(group: Path, deadline: float) -> None:
    while True:  # a group stays busy for a moment after its last process has ended
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise BedError(f"{group} cannot be removed: {error.strerror}") from None
            time.sleep(0.05)
        else:
            return


def named(name: str) -> Iterator[Path]:
    """The groups of this name in all hierarchies; whatever comes and goes beside them does not matter."""
    for directory, names, _ in os.walk(_ROOT):
        if name in names:
            names.remove(name)
            yield Path(directory, name)
