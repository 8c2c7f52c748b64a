"""The one place where a file is replaced: its name stands for the old bytes or the new ones, never for half of them."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from kloister import entropy

OWNER_ONLY = 0o600
PUBLIC = 0o644


def replace(path: Path, data: bytes, mode: int | None = OWNER_ONLY) -> None:
    """Write a file whole: beside its place, flushed, renamed, the rename flushed; nothing is left where that fails.

    What a killed process left half-written for the same place is removed first.

    Args:
        path: its place; a symlink there is replaced, not followed.
        data: its bytes.
        mode: its permissions, whatever the umask; None: what the umask leaves of 0666, for files that are the user's.
    """
    remove_stale(path)
    partial, descriptor = _new(path, 0o666 if mode is None else OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if mode is not None:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
            partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a directory, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_name(path: Path) -> Path:
    """A new hidden name beside `path` for what is to stand there; its maker keeps it locked (flock) while it lives."""
    return path.with_name(f".{path.name}.partial-{entropy.identifier()}")


def remove_stale(path: Path) -> None:
    """Remove the files and directories of a `partial_name` whose makers are gone: the kernel dropped their locks."""
    for left in _partials(path):
        try:
            lock = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its maker is alive
        finally:
            os.close(lock)


def _partials(path: Path) -> list[Path]:
    """What is there of this place's `partial_name`; a glob would compile a pattern of its own for each file."""
    beginning = f".{path.name}.partial-"
    try:
        with os.scandir(path.parent) as entries:
            return [path.parent / entry.name for entry in entries if entry.name.startswith(beginning)]
    except OSError:  # not there, or not to be listed: who writes into it will hear why
        return []


def _new(path: Path, mode: int) -> tuple[Path, int]:
    """A new file of a `partial_name`, locked; its path and descriptor."""
    while True:
        partial = partial_name(path)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return partial, descriptor
        os.close(descriptor)  # another process took it for stale between the two calls above
