"""A machine of the bed: namespaces that live as long as their first process, and programs started inside."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.bed import groups
from tests.cluster.bed.layout import Layout
from tests.cluster.bed.processes import PATIENCE, run, wait_for

_UNSHARE = ("unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--propagation", "private")
_ENTER = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: mounts, network, process numbers, host name and control groups are its own."""

    layout: Layout
    name: str

    @property
    def group(self) -> str:
        """Its control group."""
        return f"{self.layout.identity}/{self.name}"

    @property
    def first(self) -> int:
        """Its first process, as this machine numbers it."""
        return int(self.layout.first(self.name).read_text())

    def create(self) -> None:
        """Make the namespaces; they end when the first process does."""
        command = self._joining([*_UNSHARE, "--fork", "--kill-child", "--", str(self.layout.init)])
        with self.layout.log(self.name, "first").open("ab") as log:  # whoever reads our output would wait for its end
            outer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        init = self.layout.init  # before that runs, the new namespace's mounts still reach the machine around it
        first = wait_for(f"the machine {self.name}", lambda: _running(init, _children(outer.pid)), pause=0.02)
        self.layout.first(self.name).write_text(str(first))
        self.run("hostname", self.name)

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """What runs a program inside, and in the machine's control groups."""
        return self._joining(["nsenter", "--target", str(self.first), *_ENTER, "--", *map(str, words)])

    def run(self, *words: str | Path, seconds: float = PATIENCE, stdin: str = "") -> str:
        """The standard output of a program of this machine, run inside.

        Raises:
            BedError: it fails.
        """
        return run(*self.command(words), seconds=seconds, stdin=stdin, env={"PATH": _PATH})

    def start(
        self, name: str, *words: str | Path, environment: Mapping[str, str] | None = None, keep: Sequence[int] = ()
    ) -> None:
        """Start a program that stays; its output goes to `logs/MACHINE-NAME.log`.

        Args:
            name: by which it is stopped.
            words: the program and its arguments.
            environment: beside PATH.
            keep: descriptors that it inherits.
        """
        with self.layout.log(self.name, name).open("ab") as log:
            started = subprocess.Popen(
                self.command(words), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=keep, env={"PATH": _PATH, **(environment or {})},
            )  # fmt: skip
        _STARTED[started.pid] = started
        self.layout.pid(self.name, name).write_text(str(started.pid))

    def running(self, name: str) -> bool:
        """Whether what was started under this name still runs."""
        return bool(self._inner(name))

    def listens(self, port: int) -> bool:
        """Whether something inside listens at this port of IPv4 (proc_pid_net(5): local address, remote one, state)."""
        lines = Path(f"/proc/{self.first}/net/tcp").read_text().splitlines()
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal and wait until it has ended.

        Raises:
            BedError: it does not end.
        """
        for pid in self._inner(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        wait_for(f"the end of {name} on {self.name}", lambda: not self.running(name), pause=0.05)

    def _inner(self, name: str) -> list[int]:
        """The program itself: what was started is nsenter, which waits for it."""
        place = self.layout.pid(self.name, name)
        if not place.exists():
            return []
        outer = int(place.read_text())
        if outer in _STARTED:
            _STARTED[outer].poll()  # a child of ours that has ended stays until it is asked for
        return [pid for pid in _children(outer) if self.layout.identity in _groups(pid)]  # numbers are used again

    def _joining(self, words: list[str]) -> list[str]:
        joins = [f"echo $$ > {shlex.quote(str(file))}" for file in groups.create(self.group)]
        return ["/bin/sh", "-c", " && ".join([*joins, 'exec "$@"']), "sh", *words]


_STARTED: dict[int, subprocess.Popen[bytes]] = {}


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(owner) == parent and state != "Z":
                    found.append(int(entry.name))
    return found


def _running(program: Path, pids: Sequence[int]) -> int:
    """The first of them that runs this program; 0 for none, as long as it runs what has started it."""
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/exe").readlink() == program:
                return pid
    return 0


def _groups(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cgroup").read_text()
    return ""
