"""Files of a directory that operators replace while the service runs."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

from kloister.errors import KloisterError, Misconfigured

_MAX_FILES = 10_000  # of a directory

T = TypeVar("T")


class WatchedFiles(Generic[T]):
    """The files of a pattern in a directory and in all below it, read again when they have changed.

    Args:
        directory: which.
        pattern: of names.
        read: one file; raises OSError, KloisterError for one that is passed over.
        warn: told of these.
    """

    def __init__(self, directory: Path, pattern: str, read: Callable[[Path], T], warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._pattern = pattern
        self._read = read
        self._warn = warn
        self._known: dict[Path, tuple[tuple[int, int], T | None]] = {}

    def look(self) -> list[T]:
        """What all of them say now.

        Raises:
            Misconfigured: `collateral-directory`, it cannot be read.
        """
        present = dict(self._scan())
        known = {path: one for path, one in self._known.items() if present.get(path) == one[0]}
        for path in present.keys() - known.keys():
            known[path] = (present[path], self._or_none(path))
        self._known = known
        return [content for _, content in known.values() if content is not None]

    def _scan(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        try:
            if not self._directory.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "No such directory")
            for path in islice(self._directory.rglob(self._pattern), _MAX_FILES):
                status = path.stat()
                yield path, (status.st_mtime_ns, status.st_size)
        except OSError as error:
            raise Misconfigured(
                "collateral-directory", f"{self._directory}: {error.strerror}.", "Check its name and mode."
            ) from None

    def _or_none(self, path: Path) -> T | None:
        try:
            return self._read(path)
        except (OSError, KloisterError) as error:
            self._warn(f"{path} is passed over: {error}")
            return None
