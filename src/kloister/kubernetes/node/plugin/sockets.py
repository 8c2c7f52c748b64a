"""The kubelet's folder of device plugins: which sockets there are, whose they are, and whether somebody listens."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from kloister import entropy
from kloister.errors import Misconfigured

OURS = "kloister-"
_LONGEST = 107  # bytes that sun_path takes (unix(7))
_RANDOM = 8  # characters [a-z2-7], 40 bits: no two instances on a node have the same


def fresh(folder: Path, short: str) -> Path:
    """A path for a socket that no instance used before: kubelets know a plugin by it. `Misconfigured` `socket-path`."""
    path = folder / f"{OURS}{short}-{entropy.identifier()[:_RANDOM]}.sock"
    if len(os.fsencode(path)) > _LONGEST:
        raise Misconfigured(
            "socket-path",
            f"{path} is longer than the {_LONGEST} bytes that a socket's path may have.",
            "Give the kubelet's folder by a shorter path with --kubelet DIR.",
        )
    return path


def listening(path: Path) -> bool:
    """Whether somebody listens at a socket; a killed process leaves one where nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True  # its queue is full, so somebody has opened it
        except OSError as error:
            return error.errno == errno.EACCES
    return True


def siblings(folder: Path, short: str) -> list[Path]:
    """Sockets of other instances of ours for the same resource, whoever listens."""
    return sorted(folder.glob(f"{OURS}{short}-*.sock"))


def foreign(folder: Path) -> list[str]:
    """Names of the sockets in the folder that are neither ours nor the kubelet's."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    return [name for name in names if name.endswith(".sock") and name != "kubelet.sock" and not name.startswith(OURS)]
