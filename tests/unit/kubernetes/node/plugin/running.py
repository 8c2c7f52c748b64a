"""A device plugin at work beside the test."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, Self, TypeVar

from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.detection import NodeFacts
from kloister.kubernetes.node.plugin.service import DevicePlugin, Settings

Result = TypeVar("Result")


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    """One for the whole run: grpc.aio never closes what it opens for a loop."""
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, daemon=True).start()
    return made


def run(action: Coroutine[Any, Any, Result]) -> Result:
    """What it returns, in that loop."""
    return asyncio.run_coroutine_threadsafe(action, loop()).result(150)


class Running:
    """The plugin of one agent; `healthy` may be changed while it runs."""

    def __init__(self, kubelet: Path, facts: NodeFacts, allocations: Allocations | None = None) -> None:
        held = allocations or Allocations(kubelet / "allocations", None)
        self.healthy = True
        settings = Settings(kubelet, Path("/run/quotes"), places=3)
        self.plugin = DevicePlugin(settings, facts, held, lambda: self.healthy)
        self._ended = threading.Event()
        self._future: Future[None] | None = None

    def __enter__(self) -> Self:
        self._future = asyncio.run_coroutine_threadsafe(self._run(), loop())
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, and raise what it failed with."""
        if self._future is not None:
            self._future.cancel()
            assert self._ended.wait(60)
            with contextlib.suppress(CancelledError):
                self._future.result()

    async def _run(self) -> None:
        try:
            await self.plugin.run()
        finally:
            self._ended.set()
