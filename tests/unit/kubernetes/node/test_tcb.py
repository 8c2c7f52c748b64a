"""The platform's TCB status as Prometheus sees it; what judges it stands in `tests/unit/serve/test_node_tcb.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from kloister import clock
from kloister.errors import Unavailable
from kloister.kubernetes.node import tcb
from kloister.kubernetes.node.tcb import Standing, TcbWatch

DAY = timedelta(days=1)


def figures(watch: TcbWatch) -> dict[str, float]:
    """By name and label, only those that are not 0."""
    registry = CollectorRegistry()
    registry.register(watch)
    samples = [sample for family in registry.collect() for sample in family.samples if sample.value]
    return {
        " ".join([sample.name.removeprefix("kloister_"), *sample.labels.values()]): sample.value for sample in samples
    }


def test_without_collateral_and_without_a_quote_nothing_is_known() -> None:
    assert figures(TcbWatch(lambda: b"quote", None)) == {"tcb_status unknown": 1, "tcb_unknown tcb-no-collateral": 1}

    async def judge(_quote: bytes) -> Standing:
        raise AssertionError

    asked: list[None] = []
    watch = TcbWatch(lambda: asked.append(None), judge)
    asyncio.run(_until(watch, lambda: bool(asked)))
    assert figures(watch) == {"tcb_status unknown": 1, "tcb_unknown tcb-no-quote": 1}


async def _until(watch: TcbWatch, true: Callable[[], bool]) -> None:
    """Let it run until something holds."""
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 -- the product has no event for it
            await asyncio.sleep(0.01)
    task.cancel()


def test_a_status_is_told_until_it_cannot_be_judged_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcb, "_PAUSE", 0.01)
    monkeypatch.setattr(tcb, "_AGAIN", 0.01)
    issued, expires = clock.now() - 3 * DAY, clock.now() + DAY
    found: list[Standing | Unavailable] = [
        Standing("OutOfDate", issued=issued, expires=expires),
        Unavailable("collateral-unavailable", "Nobody answers."),
        Standing("Revoked", issued=issued),
    ]
    asked: list[bytes] = []
    seen: list[dict[str, float]] = []

    async def judge(quote: bytes) -> Standing:
        if asked:
            seen.append(figures(watch))
        asked.append(quote)
        answer = found[min(len(asked), len(found)) - 1]
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    watch = TcbWatch(lambda: b"quote", judge)
    asyncio.run(_until(watch, lambda: len(seen) >= len(found)))
    age, left = seen[0].pop("collateral_age_seconds"), seen[0].pop("collateral_left_seconds")
    assert 3 * 86400 <= age < 3 * 86400 + 60
    assert 86400 - 60 < left <= 86400
    assert seen[0] == {"tcb_status OutOfDate": 1}
    assert seen[1].pop("collateral_age_seconds") >= age
    assert {name for name in seen[1] if not name.startswith("collateral")} == {
        "tcb_status unknown",
        "tcb_unknown collateral-unavailable",
    }
    assert seen[2].keys() == {"tcb_status Revoked", "collateral_age_seconds"}
    assert set(asked) == {b"quote"}
