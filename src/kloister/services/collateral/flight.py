"""One fetch for many waiters: who asks for what is being fetched already waits for that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import Generic, TypeVar

from kloister.errors import Unavailable
from kloister.services.collateral.model import Key

Result = TypeVar("Result")


class Flights(Generic[Result]):
    """Fetches under way, by key. Each is a thread of its own, so that no caller waits longer than it wants to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Key, Future[Result]] = {}

    def start(self, key: Key, fetch: Callable[[], Result]) -> Future[Result]:
        """The fetch of this key: the one under way, else a new one."""
        with self._lock:
            if key in self._running:
                return self._running[key]
            future: Future[Result] = Future()
            self._running[key] = future
        thread = threading.Thread(target=self._run, args=(key, fetch, future), daemon=True, name="collateral")
        try:
            thread.start()
        except RuntimeError:
            self._forget(key)
            future.set_exception(Unavailable("source-threads", "This machine starts no more threads.", "Try again."))
        return future

    def _run(self, key: Key, fetch: Callable[[], Result], future: Future[Result]) -> None:
        try:
            result = fetch()
        except BaseException as error:  # noqa: BLE001 -- belongs to whoever waits
            self._forget(key)
            future.set_exception(error)
        else:
            self._forget(key)
            future.set_result(result)

    def _forget(self, key: Key) -> None:
        with self._lock:
            self._running.pop(key, None)


def wait(future: Future[Result], seconds: float) -> Result:
    """The result of a fetch, or its error. Raises `Unavailable` (`source-timeout`) after that time."""
    try:
        return future.result(max(seconds, 0.0))
    except Late:
        if future.done():
            raise
        raise Unavailable("source-timeout", "The sources did not answer in time.") from None
