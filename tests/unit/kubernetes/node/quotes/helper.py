"""A quote helper in a thread of the test, in front of a simulated platform that is a process of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from kloister.errors import KloisterError
from kloister.kubernetes.node.quotes import Limits, QuoteBackend, QuoteMetrics, QuoteServer, QuoteSettings
from tests.support.aesm import AesmClient

QUICK = QuoteSettings(Path(), limits=Limits(request_patience=1.0, backend_patience=5.0), trial=0.2, retrial=0.1)


def eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Helper:
    """A running helper."""

    server: QuoteServer
    registry: CollectorRegistry
    path: Path

    @property
    def client(self) -> AesmClient:
        return AesmClient(self.path)

    def figure(self, name: str, **labels: str) -> float:
        """A figure as Prometheus reads it; 0 where there is none yet."""
        return self.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def helping(path: Path, backend: QuoteBackend, settings: QuoteSettings = QUICK) -> Iterator[Helper]:
    """Serve at `path` until the end of the block."""
    registry = CollectorRegistry()
    settings = replace(settings, path=path)
    server = QuoteServer(settings, backend, QuoteMetrics(registry))
    loop = asyncio.new_event_loop()
    task = loop.create_task(server.serve())
    thread = threading.Thread(target=lambda: _until_cancelled(loop, task))
    thread.start()
    try:
        eventually(lambda: server.readiness.code != "aesm-not-tried" or task.done())
        if task.done():
            task.result()
        yield Helper(server, registry, path)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _until_cancelled(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError, KloisterError):  # the latter is raised where the helper was started
        loop.run_until_complete(task)
