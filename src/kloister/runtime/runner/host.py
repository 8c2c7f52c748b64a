"""What of the host is shown inside: devices, the attestation socket, named mounts, three text files.

Everything is opened outside, by the caller's rights, and cloned in the sandbox's own mount namespace before the
old root is left; inside there is no path back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kloister.errors import Denied, Unavailable
from kloister.runtime.linux import mounts

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_TEXT_LIMIT = 256 * 1024  # bytes of a host file that are copied; a longer one is cut at a line
_RESTRICTED = mounts.NO_SUID | mounts.NO_DEVICES


@dataclass(frozen=True, slots=True)
class Clones:
    """Detached mounts, to be attached inside: path -> descriptor."""

    files: dict[str, int]
    directories: dict[str, int]


def clones(attestation: str, shown: Iterable[tuple[str, int]]) -> Clones:
    """Clone the devices, the attestation socket and the named mounts; in the new mount namespace.

    Args:
        attestation: path of the enclave's socket outside.
        shown: (place inside, descriptor of the host's directory) of each named mount.

    Raises:
        Unavailable: `mount-unreachable`, `device-missing`.
        Denied: `mount-kind`.
    """
    files = {f"/dev/{name}": _clone(f"/dev/{name}", mounts.NO_SUID, "device-missing") for name in DEVICES}
    files["/dev/attestation/socket"] = _clone(attestation, _RESTRICTED, "mount-unreachable")
    return Clones(files, {place: _clone_same(descriptor, place) for place, descriptor in shown})


def text_files(wanted: Iterable[str]) -> dict[str, bytes]:
    """The host's own `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` as plain bytes; absent ones are empty."""
    return {path: _text(path) for path in wanted}


def _text(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_TEXT_LIMIT + 1)
    except OSError:
        return b""
    return data if len(data) <= _TEXT_LIMIT else data[:_TEXT_LIMIT].rpartition(b"\n")[0] + b"\n"


def _clone(path: str, flags: int, code: str) -> int:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            return mounts.clone(descriptor, flags)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unavailable(code, f"{path} cannot be shown inside the sandbox: {error.strerror}.") from None


def _clone_same(descriptor: int, place: str) -> int:
    """Clone what `descriptor` names: it is of the outer mount namespace, so its path is opened again and compared."""
    wanted = os.fstat(descriptor)
    if not stat.S_ISDIR(wanted.st_mode):
        raise Denied("mount-kind", f"What the host offers for {place} is not a directory.")
    path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    try:
        again = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError as error:
        raise _unreachable(path, place, error.strerror) from None
    try:
        seen = os.fstat(again)
        if (seen.st_dev, seen.st_ino) != (wanted.st_dev, wanted.st_ino):
            raise _unreachable(path, place, "it was replaced meanwhile")
        return mounts.clone(again, _RESTRICTED)
    except OSError as error:
        raise _unreachable(path, place, error.strerror) from None
    finally:
        os.close(again)


def _unreachable(path: str, place: str, reason: str | None) -> Unavailable:
    return Unavailable("mount-unreachable", f"{path} cannot be shown at {place}: {reason}.")
