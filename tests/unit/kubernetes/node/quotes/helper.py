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

QUICK = QuoteSettings(Path(), limits=Limits(request_patience=600.0, backend_patience=600.0), trial=0.2, retrial=0.1)
"""Soon tried again, and as patient as a busy machine needs; who tests patience says how little."""


def eventually(true: Callable[[], object], seconds: float = 60.0) -> None:
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
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()
    task = loop.create_task(server.serve())
    thread = threading.Thread(target=lambda: _until_cancelled(runner, task))
    thread.start()
    try:
        eventually(lambda: server.readiness.code != "aesm-not-tried" or task.done())
        if task.done():
            task.result()
        yield Helper(server, registry, path)
    finally:
        with suppress(RuntimeError):  # closed already where it could not be started
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def _until_cancelled(runner: asyncio.Runner, task: asyncio.Task[None]) -> None:
    """In the thread; the runner waits for the tasks of requests under way, too."""
    with runner, suppress(asyncio.CancelledError, KloisterError):  # the latter is raised where the helper was started
        runner.get_loop().run_until_complete(task)
