"""Threads for work that waits: a lane for each kind, so that what strangers can make slow holds up nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from kloister.errors import Denied, Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """A few threads, and a queue that has an end.

    Args:
        name: of the threads.
        threads: at most.
        queue: how many may wait for one of them.
        seconds: for which a request waits; the work itself has limits of its own.
    """

    def __init__(self, name: str, threads: int, queue: int, seconds: float) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = threading.BoundedSemaphore(threads + queue)
        self._seconds = seconds

    async def run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What the work returns.

        Raises:
            Denied: `rate-exceeded`, the queue is full.
            Unavailable: `request-late`.
        """
        if not self._places.acquire(blocking=False):
            raise Denied("rate-exceeded", "Too many requests of this kind are waiting.", "Wait a second.")
        task = self._threads.submit(partial(work, *arguments, **named))
        task.add_done_callback(lambda _: self._places.release())  # also of one that never began
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(task)
        except TimeoutError:
            raise _late() from None


class Threads:
    """The loop's own threads, for work that only administrators and operators ask for.

    Args:
        seconds: for which a request waits.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What the work returns. Raises `Unavailable`: `request-late`."""
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.to_thread(work, *arguments, **named)
        except TimeoutError:
            raise _late() from None


def _late() -> Unavailable:
    return Unavailable("request-late", "The request took too long.", "Try again.")
