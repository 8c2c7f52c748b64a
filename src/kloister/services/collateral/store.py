"""The persistent cache: one file per document, written whole or not at all. Its content is trusted by nobody."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from kloister import files
from kloister.errors import Malformed, Misconfigured
from kloister.formats.wire import canonical_json, load_json
from kloister.services.collateral.model import MAX_BODY, Item, Key

_MAX_FILE = 2 * MAX_BODY  # bytes; base64 of the largest body, and its chain
_MAX_ITEMS = 65536  # files that are listed
_SUFFIX = ".json"


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock of a file, which is made; None while another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    os.close(descriptor)
    return None


class Store:
    """Items in a directory, private to its owner.

    Args:
        directory: made when the first item is saved.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, key: Key) -> Item | None:
        """The item under a key; None where there is none, or none that can be read."""
        item = self._read(self._path(key))
        return item if item is not None and item.key == key else None

    @contextlib.contextmanager
    def turn(self, key: Key, give_up: Callable[[], bool]) -> Iterator[bool]:
        """Wait until no other process fetches this document, and hold others up meanwhile.

        Yields whether it is our turn: False where `give_up` said so first, or the directory cannot be used. The lock is
        the kernel's: it ends with the process that holds it.
        """
        path = self.directory / f".{key.name}.lock"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(path)
            while lock is None and not give_up():
                lock = _lock(path)
        except OSError:
            lock = None  # `save` says what is wrong
        try:
            yield lock is not None
        finally:
            if lock is not None:
                path.unlink(missing_ok=True)  # before the lock ends: who waits for it sees that the file is gone
                os.close(lock)

    def save(self, item: Item) -> None:
        """Put it in the place of the one before. Raises `Misconfigured`: `cache-unusable`."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.replace(self._path(item.key), canonical_json(item.as_json()))
        except OSError as error:
            raise Misconfigured(
                "cache-unusable",
                f"The cache {self.directory} cannot be used: {error.strerror}.",
                "Choose another directory: --cache DIR or KLOISTER_COLLATERAL_CACHE.",
            ) from None

    def items(self) -> list[Item]:
        """All that can be read, sorted by what they are; damaged files are passed over."""
        found: list[Item] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = sorted(entry.name for entry in os.scandir(self.directory) if entry.name.endswith(_SUFFIX))
            items = [self._read(self.directory / name) for name in names[:_MAX_ITEMS]]
            found = [item for item in items if item is not None]
        return sorted(found, key=lambda item: item.key.label)

    def _path(self, key: Key) -> Path:
        return self.directory / f"{key.name}{_SUFFIX}"

    def _read(self, path: Path) -> Item | None:
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_FILE + 1)
            return Item.from_json(load_json(data, "cache", _MAX_FILE))
        except (OSError, Malformed):
            return None
