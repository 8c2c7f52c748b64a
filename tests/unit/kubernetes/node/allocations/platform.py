"""A platform that remembers what it is told; the real one stands in `tests/unit/serve/test_node.py`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kloister.errors import Denied, Unavailable


class Remembering:
    def __init__(self) -> None:
        self.known: dict[str, int] = {}  # bytes in use
        self.away = False
        self.refuses = False

    async def allocate(self, name: str, size: int, directory: Path) -> None:
        self._check()
        if name in self.known:
            raise Denied("allocation-exists", "There is one already.")
        assert os.path.isdir(directory)  # noqa: ASYNC240, PTH112 -- of a test, and it does not block
        assert size > 0
        self.known[name] = 0

    async def release(self, name: str) -> None:
        self._check()
        self.known.pop(name, None)

    async def allocations(self) -> Mapping[str, int]:
        self._check()
        return dict(self.known)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("platform-unreachable", "Nobody answers.")
        if self.refuses:
            raise Denied("allocation-limit", "Too many.")
