"""`kloister serve webhook`: TLS from an authority of its own, settings from what the agents report."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kloister import clock
from kloister.errors import KloisterError, Malformed
from kloister.kubernetes import logs
from kloister.kubernetes.cluster import Cluster
from kloister.kubernetes.names import MIB
from kloister.kubernetes.resources import ConfidentialNode
from kloister.kubernetes.webhook.app import Webhook
from kloister.kubernetes.webhook.certificates import Authority, create
from kloister.kubernetes.webhook.mutate import Settings
from kloister.kubernetes.webhook.registration import register
from kloister.serve.signals import until_signalled
from kloister.services.broker.binding import bind_tcp
from kloister.services.broker.listeners import Listener, TimelyProtocol

LOG = logging.getLogger("kloister.webhook")
_LOOK = 10.0  # seconds between looks at the nodes and at our registration
_SETTLE = 0.2  # seconds in which the reports of many nodes are gathered
_DEFAULT_BLOCK = 8 * MIB  # where no node reports yet: nothing can be placed then anyhow


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator says.

    Attributes:
        listen: HOST:PORT of the webhook.
        names: DNS names that the API server calls it by, for instance `kloister-webhook.kloister-system.svc`.
        configuration: name of the MutatingWebhookConfiguration.
        broker: HOST:PORT that pods are told; empty for none.
    """

    listen: str
    names: Sequence[str]
    configuration: str
    broker: str


class Daemon:
    """The state that the daemon keeps between its looks at the cluster."""

    def __init__(self, options: Options, cluster: Cluster) -> None:
        self._options = options
        self._cluster = cluster
        self._authority = create(options.names, clock.now())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load(self.context, self._authority)
        self.settings = Settings(_DEFAULT_BLOCK, options.broker)
        self.trusted = False
        self._changed = asyncio.Event()

    async def look(self) -> None:
        """Renew the certificate where it is due, see to the registration, read the nodes."""
        if self._authority.due(clock.now()):
            successor = create(self._options.names, clock.now())
            await register(self._cluster, self._options.configuration, successor, clock.now())
            self._authority = successor  # new connections use it; the API server knows both
            _load(self.context, successor)
        await register(self._cluster, self._options.configuration, self._authority, clock.now())
        self.trusted = True
        self.settings = settings_of(await self._cluster.reports(), self._options.broker)

    async def looks(self) -> None:
        """For ever: at once when a report changes, so that no pod is counted in blocks of yesterday's nodes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._rounds())

    async def _watch(self) -> None:
        async for _ in self._cluster.changes_of_reports():
            self._changed.set()

    async def _rounds(self) -> None:
        while True:
            try:
                await self.look()
            except KloisterError as error:
                LOG.warning("%s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _LOOK)
                await asyncio.sleep(_SETTLE)
            self._changed.clear()


def settings_of(reports: Iterable[dict[str, object]], broker: str) -> Settings:
    """Block size and largest node; the largest block, so that no request is rounded up beyond its node's memory."""
    nodes = []
    for report in reports:
        try:
            nodes.append(ConfidentialNode.parse(report))
        except Malformed as error:
            LOG.warning("%s", error)
    blocks = [node.block for node in nodes if node.epc and node.block]
    if len(set(blocks)) > 1:
        LOG.warning("EPC blocks of different sizes: %s; give all agents the same --block", sorted(set(blocks)))
    return Settings(
        max(blocks, default=_DEFAULT_BLOCK),
        broker,
        max((node.epc for node in nodes), default=0),
        any(node.simulated for node in nodes),
    )


def run(options: Options) -> None:
    """Serve until SIGTERM. Raises `Misconfigured` `cluster-unknown`, `listen-address`, `port-in-use`."""
    logs.configure()
    with bind_tcp(options.listen) as sock:
        asyncio.run(_serve(options, Cluster(), sock))


async def _serve(options: Options, cluster: Cluster, sock: socket.socket) -> None:
    daemon = Daemon(options, cluster)
    app = Webhook(lambda: daemon.settings, lambda: daemon.trusted)
    listener = Listener(app, sock, TimelyProtocol, daemon.context)
    try:
        await until_signalled(listener, daemon.looks())
    finally:
        await cluster.close()


def _load(context: ssl.SSLContext, authority: Authority) -> None:
    """Through memory: `load_cert_chain` reads files only, and the key must not come to lie on a disk."""
    descriptor = os.memfd_create("webhook-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, authority.certificate + authority.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
