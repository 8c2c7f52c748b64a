"""Results appear whole or not at all: built in a hidden directory beside their place, then renamed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kloister import entropy
from kloister.errors import KloisterError, Misconfigured

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def staging(destination: Path) -> Iterator[Path]:
    """An empty directory on the file system of `destination`, gone afterwards unless it was renamed.

    What a killed process left there before is removed first: the lock of its directory is free then.

    Raises:
        Misconfigured: `disk-full`, `destination-unwritable`.
    """
    with disk_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(destination)
        directory = destination.parent / f".{destination.name}.partial-{entropy.identifier()}"
        directory.mkdir()
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with disk_errors(destination):
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _remove_stale(destination: Path) -> None:
    for old in destination.parent.glob(f".{_escaped(destination.name)}.partial-*"):
        try:
            lock = os.open(old, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its maker is alive
        finally:
            os.close(lock)


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turns what the operating system says about writing to `place` into sentences.

    Raises:
        Misconfigured: `disk-full`, `destination-unwritable`.
    """
    try:
        yield
    except KloisterError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise Misconfigured("disk-full", f"The disk is full: {place}.", "Free some space and try again.") from None
        hint = "Choose a place that you may write to."
        text = f"{place} cannot be written: {error.strerror or error}."
        raise Misconfigured("destination-unwritable", text, hint) from None


def sync_file(path: Path) -> None:
    """Make the file's bytes survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file whole: beside its place, flushed, renamed. What a killed process left there before is removed.

    Args:
        path: its place.
        data: its bytes.
        mode: its permissions, less what the umask forbids.
    """
    _remove_stale(path)
    partial = path.with_name(f".{path.name}.partial-{entropy.identifier()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_file(path.parent)
    finally:
        partial.unlink(missing_ok=True)
