"""The persistent cache: one file per document, written whole or not at all. Its content is trusted by nobody."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from kloister.errors import Malformed, Misconfigured
from kloister.formats.wire import canonical_json, load_json
from kloister.services.collateral.model import MAX_BODY, Item, Key

_MAX_FILE = 2 * MAX_BODY  # bytes; base64 of the largest body, and its chain
_MAX_ITEMS = 65536  # files that are listed
_SUFFIX = ".json"


class Store:
    """Items in a directory, private to its owner.

    Args:
        directory: made when the first item is saved.
        identifier: names of temporary files, never the same twice.
    """

    def __init__(self, directory: Path, identifier: Callable[[], str]) -> None:
        self.directory = directory
        self._identifier = identifier

    def load(self, key: Key) -> Item | None:
        """The item under a key; None where there is none, or none that can be read."""
        item = self._read(self._path(key))
        return item if item is not None and item.key == key else None

    def save(self, item: Item) -> None:
        """Put it in the place of the one before. Raises `Misconfigured`: `cache-unusable`."""
        path = self._path(item.key)
        temporary = path.with_name(f".{path.name}.{self._identifier()}")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(canonical_json(item.as_json()))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
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
