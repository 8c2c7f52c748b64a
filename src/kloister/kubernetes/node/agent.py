from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from kloister import clock
from kloister.errors import KloisterError, Misconfigured
from kloister.kubernetes.node import metrics
from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.allocations.watching import Watch
from kloister.kubernetes.node.detection import NodeFacts
from kloister.kubernetes.node.interface import Interface, Page
from kloister.kubernetes.node.plugin.service import DevicePlugin
from kloister.kubernetes.node.quotes import Readiness
from kloister.kubernetes.node.report import Reporter, report
from kloister.kubernetes.node.tcb import TcbWatch

_LOG = logging.getLogger("kloister.node")
_LOOK = 2.0  # seconds between two looks at whether something new is to be reported
_AGAIN = 60.0  # seconds after which it is reported again; the controller takes a node for lost after five minutes

NO_QUOTES = Readiness.of(Misconfigured("quotes-off", "Nobody makes quotes on this node.", "Name a platform."))


@dataclass(frozen=True, slots=True)
class Parts:
    """What the agent is composed of.

    Attributes:
        facts: what the node has.
        plugin: the device plugin.
        registry: figures of all parts.
        allocations: what containers hold.
        watch: looks after them.
        quotes: serves quotes until cancelled; None where nobody makes any.
        readiness: whether a quote can be had now.
        name: the node's, for its reports.
        reporter: where reports go; None for nowhere.
        tcb: what the platform's evidence is worth.
    """

    facts: NodeFacts
    plugin: DevicePlugin
    registry: CollectorRegistry
    allocations: Allocations
    watch: Watch
    quotes: Callable[[], Coroutine[Any, Any, None]] | None = None
    readiness: Callable[[], Readiness] = lambda: NO_QUOTES
    name: str = ""
    reporter: Reporter | None = None
    tcb: TcbWatch = field(default_factory=lambda: TcbWatch(lambda: None, None))


class Agent:
    """All parts in one process, until SIGTERM or SIGINT.

    Args:
        parts: see there.
        sock: where the interface listens.
    """

    def __init__(self, parts: Parts, sock: socket.socket) -> None:
        self._parts = parts
        parts.registry.register(metrics.NodeCollector(parts.facts, parts.plugin, parts.allocations, parts.watch))
        parts.registry.register(parts.tcb)
        pages = {
            "/metrics": lambda: metrics.page(parts.registry),
            "/healthz": self._health,
            "/readyz": self._readiness,
        }
        self.interface = Interface(sock, pages)

    async def run(self) -> None:
        """Run everything; a part that fails for good ends the agent, which its pod then starts anew.

        Raises:
            Misconfigured: `socket-path`.
        """
        await self.interface.start()
        _LOG.info("agent started", extra={"address": self.interface.address, "simulated": self._parts.facts.simulated})
        work = asyncio.create_task(self._work())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        try:
            await work
        except asyncio.CancelledError:
            _LOG.info("agent stopped")
        except ExceptionGroup as group:
            raise _first(group) from None
        finally:
            await self.interface.stop()

    async def _work(self) -> None:
        parts = self._parts
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(parts.plugin.run())
            tasks.create_task(parts.watch.run())
            tasks.create_task(parts.tcb.run())
            if parts.quotes is not None:
                tasks.create_task(parts.quotes())
            if parts.reporter is not None:
                tasks.create_task(self._report(parts.reporter))

    async def _report(self, reporter: Reporter) -> None:
        """Report what changed, and every minute that we are alive; what could not be written is tried again."""
        parts = self._parts
        written, at, code = None, 0.0, ""
        while True:
            now = clock.monotonic()
            current = parts.plugin.adopted, parts.readiness()
            if current != written or now - at >= _AGAIN:
                try:
                    await reporter(report(parts.name, parts.facts, *current, clock.now()))
                    written, at, code = current, now, ""
                except KloisterError as error:
                    if error.code != code:
                        _LOG.warning(error.text, extra={"code": error.code})
                    written, code = None, error.code
            await asyncio.sleep(_LOOK)

    def _health(self) -> Page:
        if self._parts.plugin.stranded:
            return Page(503, b"the kubelet's folder was deleted under its mount; the pod has to start anew\n")
        return Page(200, b"ok\n")

    def _readiness(self) -> Page:
        lines = [f"the kubelet does not have {name}" for name in self._parts.plugin.missing]
        error = self._parts.watch.platform_error
        if error is not None:
            lines.append(f"{error.text} [{error.code}]")
        state = self._parts.readiness()
        if self._parts.quotes is not None and not state.ready:
            lines.append(f"{state.text} [{state.code}]")
        return Page(503 if lines else 200, "".join(f"{line}\n" for line in lines or ["ok"]).encode())


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The failure that ended the group, out of groups within it."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
