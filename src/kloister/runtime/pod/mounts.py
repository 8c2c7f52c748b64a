"""What the pod mounts into the container's root: most of it is the host's, and only some places may be."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kloister.errors import Denied, Malformed
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.enclave.runtime import MEMORY

ALLOCATION = "/run/kloister"  # the folder of this container's allocation, mounted by Allocate
ATTESTATION = "/dev/attestation"  # an emptyDir of medium Memory that the webhook mounts, for pod/attestation.py
_RUNTIMES = ("/proc", "/sys", "/dev")  # made by the container runtime
# Below /run or, in images where that is no link to it, /var/run: the quote helper's socket and the service account.
_KUBERNETES = ("/aesmd", "/secrets/kubernetes.io/serviceaccount")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_MOST_BYTES = 4 << 20  # of mountinfo; a pod has some dozen lines
_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount; `memory` where its files are never on a disk (unless the node swaps)."""

    point: str
    memory: bool


def parse(data: bytes) -> tuple[Mount, ...]:
    """The mounts of a mountinfo file (proc_pid_mountinfo(5)); of several at one place the last, which is seen.

    Raises:
        Malformed: `mounts-line`.
    """
    found: dict[str, Mount] = {}
    for line in data.splitlines():
        fields, dash, rest = line.partition(b" - ")
        words = fields.split(b" ")
        if not dash or len(words) < 6:  # noqa: PLR2004 -- the fields before the optional ones
            raise Malformed("mounts-line", "A line of /proc/self/mountinfo does not follow the format.")
        point = os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), words[4]))
        found[point] = Mount(point, rest.split(b" ")[0].decode("latin-1") in _IN_MEMORY)
    return tuple(found.values())


def read(path: Path = Path("/proc/self/mountinfo")) -> tuple[Mount, ...]:
    """The mounts of this process. Raises `Malformed` (`mounts-line`)."""
    with path.open("rb") as file:
        return parse(file.read(_MOST_BYTES))


def require_known(mounts: Iterable[Mount], launch: LaunchDocument) -> None:
    """Refuse mounts where the host would choose what the application reads as its own.

    Args:
        mounts: from `read`.
        launch: names the writable places, where memory may be mounted, and the named mounts.

    Raises:
        Denied: `pod-mount`.
    """
    runs = ("/run", "/var/run")
    known = [*_RUNTIMES, *launch.host_files, *launch.mounts.values(), ALLOCATION]
    known += [run + name for run in runs for name in _KUBERNETES]
    for mount in mounts:
        fits = mount.point == "/" or is_below(mount.point, known)
        if is_below(mount.point, (ATTESTATION,)):  # the host must not choose what an application takes for its keys
            fits = mount == Mount(ATTESTATION, memory=True)
        if not fits and not (mount.memory and is_below(mount.point, (*launch.writable, MEMORY))):
            raise Denied(
                "pod-mount",
                f"The pod mounts {mount.point!a}, where the image was measured without a mount.",
                "Mount an emptyDir of medium Memory, and that in a writable place only, or convert with"
                f" --mount NAME={mount.point} (--writable for memory).",
            )


def is_below(path: str, places: Iterable[str]) -> bool:
    """Whether `path` is one of the places, or lies in one."""
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def holding(path: str, mounts: Iterable[Mount]) -> Mount:
    """The mount that a path lies in."""
    return max((mount for mount in mounts if is_below(path, (mount.point,))), key=lambda mount: len(mount.point))
