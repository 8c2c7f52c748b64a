"""The pods that a node runs and the EPC that they use, as the kernel has them: their cgroups (cgroups(7), misc.rst)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kloister.kubernetes.node.quotes.callers import pod_of

_MOUNT = Path("sys/fs/cgroup")
_FIRST = ("misc", "memory", "pids", "systemd")  # hierarchies of version 1; any has the pods, `misc` also their EPC
_LONGEST = 4096  # bytes of misc.current, one line for each resource
_EPC = re.compile(r"^sgx_epc (\d{1,18})$", re.ASCII | re.MULTILINE)


class Cgroups:
    """Cgroups below a root folder, made by either of the kubelet's drivers, `cgroupfs` or `systemd`.

    Args:
        root: `/`, or where the host's files are. A container sees its own cgroups only below its own root.
    """

    def __init__(self, root: Path) -> None:
        mount = root / _MOUNT
        first = next((mount / name for name in _FIRST if (mount / name).is_dir()), mount)
        self._base = mount if (mount / "cgroup.controllers").exists() else first

    def pods(self) -> dict[str, Path] | None:
        """The cgroup of each pod by the pod's uid; None where no kubelet's cgroups can be seen."""
        tops = [*self._base.glob("kubepods*"), *self._base.glob("*/kubepods*")]  # with a cgroupRoot one deeper
        if not tops:
            return None
        found = ((pod_of(f"0::/{path.relative_to(self._base)}")[0], path) for path in _below(tops))
        return {uid: path for uid, path in found if uid}

    @property
    def tells_epc(self) -> bool:
        """Whether this kernel counts EPC by cgroup; mainline does not (yet)."""
        return _EPC.search(_text(self._base / "misc.capacity")) is not None

    @staticmethod
    def epc(pod: Path) -> int | None:
        """Bytes of EPC that the enclaves of a pod's cgroup have; None where the kernel does not tell."""
        found = _EPC.search(_text(pod / "misc.current"))
        return int(found[1]) if found else None


def _below(tops: list[Path]) -> Iterator[Path]:
    """Pods are one step below, or two: those of the classes burstable and best-effort have a folder for the class."""
    for top in tops:
        yield from top.glob("*pod*/")
        yield from top.glob("*/*pod*/")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode("ascii", "replace")
    except OSError:
        return ""
