"""What a machine of the bed sees where a real one has its own: devices, mounts, kernel settings, directories."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.cluster.bed import groups
from tests.cluster.bed.layout import NODES
from tests.cluster.bed.machine import Machine

# kubelet demands these of the kernel and would change them for the whole machine: it finds them in files of its own.
_SETTINGS = {
    "vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}  # fmt: skip
_DEVICES = {
    "null": "1 3",
    "zero": "1 5",
    "full": "1 7",
    "random": "1 8",
    "urandom": "1 9",
    "tty": "5 0",
    "kmsg": "1 11",
}
_COMMON = """
set -e
mount --make-rshared /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
"""
_NODE = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
mount -t tmpfs -o mode=755 tmpfs /dev
mkdir /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
"""


def prepare(machine: Machine) -> None:
    """Mount what the machine has of its own; a node has its own `/run`, `/dev`, `/var/lib` and `/var/log` too."""
    script = _COMMON + "".join(_hierarchies())
    if machine.name in {node.name for node in NODES}:
        script += _NODE + "".join(f"mknod -m 666 /dev/{name} c {numbers}\n" for name, numbers in _DEVICES.items())
        script += "".join(_directories(machine.layout.node(machine.name)))
    machine.run("/bin/sh", "-c", script)


def _hierarchies() -> list[str]:
    lines = []
    for controllers in groups.hierarchies():
        place = shlex.quote(f"/sys/fs/cgroup/{controllers.removeprefix('name=')}")
        lines.append(f"mkdir {place}\nmount -t cgroup -o {shlex.quote(_options(controllers))} cgroup {place}\n")
    return lines


def _options(controllers: str) -> str:
    return f"none,{controllers}" if controllers.startswith("name=") else controllers


def _directories(disk: Path) -> list[str]:
    lines = []
    for name in ("var/lib", "var/log"):
        (disk / name).mkdir(parents=True)
        lines.append(f"mount --bind {shlex.quote(str(disk / name))} /{name}\n")
    (disk / "var/lib/kubelet").mkdir()
    for name, value in _SETTINGS.items():
        file = disk / "proc/sys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")
        lines.append(f"mount --bind {shlex.quote(str(file))} /proc/sys/{name}\n")
    return lines
