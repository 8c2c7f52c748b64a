"""Results appear whole or not at all: built in a hidden directory beside their place, then renamed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kloister import files
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
        files.remove_stale(destination)
        directory, lock = _new(destination)
    try:
        with disk_errors(destination):
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _new(destination: Path) -> tuple[Path, int]:
    """A new directory of a `partial_name`, locked; its path and descriptor."""
    while True:
        directory = files.partial_name(destination)
        directory.mkdir()
        with suppress(FileNotFoundError):  # another process took it for stale before it could be locked
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:
                return directory, lock
            os.close(lock)  # or between the two calls above


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
