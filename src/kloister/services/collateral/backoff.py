"""Leaves a source alone for a while after it failed: as long as it says, else twice as long each time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

FIRST = 0.5  # seconds after the first failure
MOST = 300.0  # seconds, however often it failed
MOST_ASKED = 3600.0  # seconds that a Retry-After is obeyed; a longer one is taken for a mistake
_JITTER = 0.25  # of the wait, added at random, so that many clients do not come back at once


@dataclass(slots=True)
class _Record:
    failures: int = 0
    ready: float = 0.0


class Backoff:
    """When each source may be asked again. May be shared by threads.

    Args:
        draw: `draw(n)` is n random bytes.
    """

    def __init__(self, draw: Callable[[int], bytes]) -> None:
        self._draw = draw
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}

    def ready_at(self, source: str) -> float:
        """The time (of the monotonic clock) before which the source should be left alone."""
        with self._lock:
            return self._records.get(source, _Record()).ready

    def failed(self, source: str, now: float, retry_after: float | None = None) -> None:
        """Note a failure; `retry_after` are the seconds that the source asked for."""
        with self._lock:
            record = self._records.setdefault(source, _Record())
            record.failures += 1
            wait = min(MOST, FIRST * 2.0 ** min(record.failures - 1, 32))
            if retry_after is not None:
                wait = min(MOST_ASKED, max(retry_after, 0.0))
            jitter = self._draw(1)[0] / 255 * _JITTER
            record.ready = max(record.ready, now + wait * (1 + jitter))

    def succeeded(self, source: str) -> None:
        """Forget its failures."""
        with self._lock:
            self._records.pop(source, None)
