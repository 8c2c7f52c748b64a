"""The controller's loop: reports and nodes in, patches out; level-triggered, so that a missed event costs only time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from kloister import clock
from kloister.errors import KloisterError, Malformed
from kloister.kubernetes.cluster import Conflict
from kloister.kubernetes.controller.leader import RENEW, Candidate
from kloister.kubernetes.controller.telling import Pods, Telling
from kloister.kubernetes.controller.wanted import change, left_behind
from kloister.kubernetes.resources import ConfidentialNode

LOG = logging.getLogger("kloister.controller")
RESYNC = 10.0  # seconds between looks at all nodes: a kubelet that lost its checkpoint resets capacity
_SETTLE = 0.2  # seconds that reports are gathered before nodes are looked at
Json = dict[str, Any]


class Nodes(Pods, Protocol):
    """What the loop needs of the API server (`kubernetes.cluster.Cluster`)."""

    async def nodes(self) -> list[Json]: ...  # noqa: D102 (see Cluster)
    async def patch_node(self, name: str, patch: Json) -> None: ...  # noqa: D102 (see Cluster)
    async def patch_node_status(self, name: str, patch: Json) -> None: ...  # noqa: D102 (see Cluster)
    async def reports(self) -> list[Json]: ...  # noqa: D102 (see Cluster)
    def changes_of_reports(self) -> AsyncIterator[tuple[str, Json]]: ...  # noqa: D102 (see Cluster)
    async def failed_pods(self) -> list[Json]: ...  # noqa: D102 (see Cluster)
    async def delete_pod(self, namespace: str, name: str, uid: str) -> None: ...  # noqa: D102 (see Cluster)


class Controller:
    """The loop.

    Args:
        cluster: the API server.
        candidate: our leadership; while another leads nothing is written.
        taint: whether ordinary pods are kept off nodes with EPC.
    """

    def __init__(self, cluster: Nodes, candidate: Candidate, *, taint: bool) -> None:
        self._cluster = cluster
        self._candidate = candidate
        self._taint = taint
        self._telling = Telling(cluster, lambda: candidate.leads(clock.monotonic()))
        self._changed = asyncio.Event()
        self.synced = False  # whether a round has succeeded, for readiness

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._lead())
                group.create_task(self._watch())
                group.create_task(self._rounds())
        finally:
            await self._telling.close()

    async def _lead(self) -> None:
        while True:
            led = self._candidate.leads(clock.monotonic())
            await self._candidate.attempt(clock.now(), clock.monotonic())
            if not led and self._candidate.leads(clock.monotonic()):
                LOG.info("leading")
                self._changed.set()
            await asyncio.sleep(RENEW)

    async def _watch(self) -> None:
        async for _ in self._cluster.changes_of_reports():
            self._changed.set()

    async def _rounds(self) -> None:
        while True:
            try:
                await self.round()
                self.synced = True
            except KloisterError as error:
                LOG.warning("round failed: %s", error)
            await self._wait()

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), RESYNC)
            await asyncio.sleep(_SETTLE)
        except TimeoutError:
            pass
        self._changed.clear()

    async def round(self) -> None:
        """Look at everything once and mend it."""
        reports = {report.name: report for report in map(_parsed, await self._cluster.reports()) if report}
        self._telling.follow(reports)
        for node in await self._cluster.nodes():
            await self._mend(node, reports.get(_name(node)))
        for pod in left_behind(await self._cluster.failed_pods()):
            await self._delete(pod)

    async def _mend(self, node: Json, report: ConfidentialNode | None) -> None:
        wanted = change(node, report, clock.now(), taint=self._taint)
        if not self._candidate.leads(clock.monotonic()):
            return
        try:
            if wanted.node is not None:
                await self._cluster.patch_node(_name(node), wanted.node)
            if wanted.status is not None:
                await self._cluster.patch_node_status(_name(node), wanted.status)
                LOG.info("node %s: %s", _name(node), wanted.status["status"]["capacity"])
        except Conflict:
            self._changed.set()  # looked at again at once
        except KloisterError as error:  # one node that cannot be written must not keep the others from it
            LOG.warning("node %s: %s", _name(node), error)

    async def _delete(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        if self._candidate.leads(clock.monotonic()):
            LOG.info("deleting %s/%s: it was admitted before its devices were there", *_place(metadata))
            await self._cluster.delete_pod(*_place(metadata), metadata["uid"])


def _place(metadata: Mapping[str, Any]) -> tuple[str, str]:
    return metadata["namespace"], metadata["name"]


def _name(node: Mapping[str, Any]) -> str:
    return str(node["metadata"]["name"])


def _parsed(document: Json) -> ConfidentialNode | None:
    try:
        return ConfidentialNode.parse(document)
    except Malformed as error:
        LOG.warning("%s: %s", (document.get("metadata") or {}).get("name"), error)
        return None
