"""`kloister serve controller`: the one writer of nodes; several replicas elect one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from kloister import clock, entropy
from kloister.kubernetes import logs
from kloister.kubernetes.cluster import Cluster
from kloister.kubernetes.controller.leader import Candidate
from kloister.kubernetes.controller.loop import Controller
from kloister.serve.signals import until_signalled
from kloister.services.broker.binding import bind_tcp
from kloister.services.broker.listeners import Listener, TimelyProtocol

LEASE = "kloister-controller"
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator says.

    Attributes:
        listen: HOST:PORT of health and metrics.
        namespace: where the Lease is.
        taint: whether ordinary pods are kept off nodes with EPC.
    """

    listen: str
    namespace: str
    taint: bool


def run(options: Options) -> None:
    """Run until SIGTERM. Raises `Misconfigured` `cluster-unknown`, `listen-address`, `port-in-use`."""
    logs.configure()
    with bind_tcp(options.listen) as sock:
        asyncio.run(_run(options, Cluster(), sock))


async def _run(options: Options, cluster: Cluster, sock: socket.socket) -> None:
    candidate = Candidate(cluster, options.namespace, LEASE, f"{socket.gethostname()}-{entropy.identifier()[:6]}")
    controller = Controller(cluster, candidate, taint=options.taint)
    listener = Listener(_health(controller, candidate), sock, TimelyProtocol, None)
    try:
        await until_signalled(listener, controller.run())
    finally:
        await cluster.close()


def _health(
    controller: Controller, candidate: Candidate
) -> Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]:
    """GET /healthz, /readyz (a round has succeeded), /metrics."""
    registry = CollectorRegistry()
    leading = Gauge("kloister_controller_leading", "1 where this replica writes.", registry=registry)
    leading.set_function(lambda: float(candidate.leads(clock.monotonic())))

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        del receive
        answers = {"/healthz": (200, b"ok\n"), "/metrics": (200, generate_latest(registry))}
        answers["/readyz"] = (200, b"ok\n") if controller.synced else (503, b"no round has succeeded yet\n")
        status, body = answers.get(scope["path"], (404, b"not found\n"))
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
