from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease

from kloister.errors import Unavailable
from kloister.kubernetes.cluster import Conflict
from kloister.kubernetes.controller.leader import DURATION, Candidate

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Store:
    """The API server's part: one lease, refused where it was changed in between."""

    def __init__(self) -> None:
        self.spec: LeaseSpec | None = None
        self.version = 0
        self.gone = False

    async def lease(self, namespace: str, name: str) -> Lease | None:
        if self.gone:
            raise Unavailable("cluster-unreachable", "away")
        if self.spec is None:
            return None
        return Lease(
            metadata=ObjectMeta(name=name, namespace=namespace, resourceVersion=str(self.version)), spec=self.spec
        )

    async def write_lease(self, namespace: str, name: str, spec: LeaseSpec, version: str | None) -> None:
        assert (namespace, name) == ("ns", "lease")
        if version != (str(self.version) if self.spec else None):
            raise Conflict("cluster-conflict", "changed")
        self.spec, self.version = spec, self.version + 1


def candidate(store: Store, name: str) -> Candidate:
    return Candidate(store, "ns", "lease", name)


def attempt(who: Candidate, seconds: float) -> bool:
    asyncio.run(who.attempt(AT + timedelta(seconds=seconds), seconds))
    return who.leads(seconds)


def test_of_two_one_leads_and_keeps_on_leading() -> None:
    store = Store()
    first, second = candidate(store, "a"), candidate(store, "b")
    assert attempt(first, 0)
    assert not attempt(second, 1)
    assert all(attempt(first, at) and not attempt(second, at + 1) for at in range(5, 60, 5))


def test_a_silent_leader_is_followed_after_the_duration_and_not_before() -> None:
    store = Store()
    first, second = candidate(store, "a"), candidate(store, "b")
    assert attempt(first, 0)
    assert not attempt(second, 1)
    assert not attempt(second, DURATION)
    assert attempt(second, DURATION + 1)
    assert not first.leads(DURATION + 1), "it knew by its own clock"
    assert not attempt(first, DURATION + 2)
    assert store.spec is not None
    assert store.spec.leaseTransitions == 2


def test_no_two_clocks_are_compared() -> None:
    store = Store()
    late, second = candidate(store, "a"), candidate(store, "b")
    asyncio.run(late.attempt(AT - timedelta(days=1), 0))
    assert not attempt(second, 1), "its renewal is old by our clock, but we saw it just now"


def test_who_cannot_reach_the_server_stops_leading() -> None:
    store = Store()
    only = candidate(store, "a")
    assert attempt(only, 0)
    store.gone = True
    assert attempt(only, 5)
    assert not attempt(only, DURATION)


def test_a_race_has_one_winner() -> None:
    store = Store()
    loser = candidate(store, "b")
    asyncio.run(candidate(store, "a").attempt(AT, 0))
    store.spec = None  # what the loser saw before
    seen = store.version
    store.spec, store.version = LeaseSpec(holderIdentity=""), seen
    assert attempt(loser, 1)
    assert not attempt(candidate(store, "c"), 2)
