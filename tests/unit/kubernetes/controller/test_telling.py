from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from kloister.errors import Unavailable
from kloister.formats.protocol.events import Refused
from kloister.kubernetes.controller.telling import Pace, Telling

Json = dict[str, Any]


def pod(name: str) -> Json:
    message = json.dumps(Refused("file-changed", "A file was changed.").build())
    ended = {"terminated": {"exitCode": 70, "message": message, "finishedAt": "2026-11-22T12:00:00Z"}}
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"containers": [{"name": "app", "resources": {"limits": {"sgx.intel.com/epc": "40Mi"}}}]},
        "status": {"containerStatuses": [{"name": "app", "restartCount": 0, "state": ended}]},
    }


class Pods:
    """Of one node: the first watch breaks in a way that nobody foresaw."""

    def __init__(self) -> None:
        self.watched: Counter[str] = Counter()
        self.written: asyncio.Queue[str] = asyncio.Queue()

    async def changes_of_pods(self, node: str) -> AsyncIterator[tuple[str, Json]]:
        self.watched[node] += 1
        if self.watched[node] == 1:
            raise KeyError(node)
        yield "ADDED", pod("clinic")
        await asyncio.Event().wait()

    async def write_event(self, event: Json) -> None:
        await self.written.put(event["involvedObject"]["name"])


async def told(pods: Pods) -> str:
    telling = Telling(pods, lambda: True)
    try:
        telling.follow(["n1"])
        await asyncio.sleep(0.01)
        telling.follow(["n1"])
        return await asyncio.wait_for(pods.written.get(), 30)
    finally:
        await telling.close()


def test_a_watch_that_broke_is_begun_again() -> None:
    pods = Pods()
    assert asyncio.run(told(pods)) == "clinic"
    assert pods.watched == {"n1": 2}


def test_one_namespace_does_not_take_the_words_of_others() -> None:
    pace = Pace()
    loud = [pace.allows(event("loud", number), 1.0) for number in range(1000)]
    assert loud.count(True) == 60
    assert pace.allows(event("shop", 0), 1.0)
    assert pace.allows(event("loud", 2000), 61.0)


class Refusing(Pods):
    """It takes no event at first; the pod is seen twice."""

    async def changes_of_pods(self, node: str) -> AsyncIterator[tuple[str, Json]]:
        self.watched[node] += 1
        for _ in range(2):
            yield "MODIFIED", pod("clinic")
        await asyncio.Event().wait()

    async def write_event(self, event: Json) -> None:
        self.watched["writes"] += 1
        if self.watched["writes"] == 1:
            raise Unavailable("cluster-api", "The API server is away.", "")
        await super().write_event(event)


def test_an_event_that_could_not_be_written_is_written_when_the_pod_is_seen_again() -> None:
    assert asyncio.run(told(Refusing())) == "clinic"


def event(namespace: str, number: int) -> Json:
    return {"metadata": {"namespace": namespace, "name": f"e{number}"}, "count": 1}
