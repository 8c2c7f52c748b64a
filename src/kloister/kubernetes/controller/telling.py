"""Watches the pods of confidential nodes and writes the events of those that were refused; seldom the same one."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kloister import clock
from kloister.errors import KloisterError
from kloister.kubernetes.controller.refusals import refusals

LOG = logging.getLogger("kloister.controller")
_AGAIN = 60.0  # seconds before the count of an event is written anew: a crash loop begins with 10 s
_A_MINUTE = 300  # events of all pods: the API server's store must not suffer from them
_OF_ONE = 60  # of these, of one namespace: it must not take the words of others
_KNOWN = 4096  # events remembered; of an older one a count is written once more
Json = dict[str, Any]


class Pods(Protocol):
    """What it needs of the API server (`kubernetes.cluster.Cluster`)."""

    def changes_of_pods(self, node: str) -> AsyncIterator[tuple[str, Json]]: ...  # noqa: D102 (see Cluster)
    async def write_event(self, event: Json) -> None: ...  # noqa: D102 (see Cluster)


@dataclass(slots=True)
class Pace:
    """Which events may be written now; the moments are seconds of a monotonic clock."""

    _said: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)
    _minute: float = float("-inf")
    _written: Counter[str] = field(default_factory=Counter)  # in it, by namespace

    def allows(self, event: Json, at: float) -> bool:
        """Whether the event says something new and is not one of too many; it counts as written then."""
        namespace, key = event["metadata"]["namespace"], _key(event)
        count, last = self._said.get(key, (0, float("-inf")))
        if count == event["count"] or at - last < _AGAIN:
            return False
        if at - self._minute >= 60.0:  # noqa: PLR2004 - seconds of a minute
            self._minute = at
            self._written.clear()
        if self._written.total() >= _A_MINUTE or self._written[namespace] >= _OF_ONE:
            return False
        self._written[namespace] += 1
        self._said[key] = (event["count"], at)
        self._said.move_to_end(key)
        while len(self._said) > _KNOWN:
            self._said.popitem(last=False)
        return True

    def forget(self, event: Json) -> None:
        """It could not be written: it is written when the pod is seen next."""
        self._said.pop(_key(event), None)


def _key(event: Json) -> str:
    return f"{event['metadata']['namespace']}/{event['metadata']['name']}"


class Telling:
    """One watch for each node that has an agent, while we lead.

    Args:
        cluster: the API server.
        leads: whether we may write.
    """

    def __init__(self, cluster: Pods, leads: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._leads = leads
        self._pace = Pace()
        self._watches: dict[str, asyncio.Task[None]] = {}

    def follow(self, nodes: Iterable[str]) -> None:
        """Watch the pods of these nodes, and of no others; a watch that broke is begun again."""
        self._watches = {name: watch for name, watch in self._watches.items() if not watch.done()}
        wanted = set(nodes) if self._leads() else set()
        for name in set(self._watches) - wanted:
            self._watches.pop(name).cancel()
        for name in wanted - set(self._watches):
            self._watches[name] = asyncio.create_task(self._watch(name))

    async def close(self) -> None:
        """End all watches."""
        watches = list(self._watches.values())
        self._watches.clear()
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    async def _watch(self, node: str) -> None:
        try:
            async for kind, pod in self._cluster.changes_of_pods(node):
                for event in refusals(pod) if kind != "DELETED" and self._leads() else []:
                    await self._tell(event)
        except Exception:  # the node is watched again with the next round
            LOG.exception("node %s: its pods cannot be watched", node)

    async def _tell(self, event: Json) -> None:
        if not self._pace.allows(event, clock.monotonic()):
            return
        try:
            await self._cluster.write_event(event)
        except KloisterError as error:
            self._pace.forget(event)
            LOG.warning("event %s: %s", event["metadata"]["name"], error)
