"""The only place where the time is read; everything else takes it as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The present time, aware, in UTC."""
    return datetime.now(UTC)


def unix() -> int:
    """The present time in whole seconds since 1970-01-01 UTC."""
    return int(time.time())


def monotonic() -> float:
    """Seconds of a clock that never goes back, for measuring durations."""
    return time.monotonic()
