from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from kloister.kubernetes.node.quotes import Limits
from kloister.kubernetes.node.quotes.limits import Accounts, TokenBucket


def test_a_bucket_lets_a_burst_pass_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(0.1), bucket.take(0.1)] == [True, False]
    assert not bucket.full(0.3)
    assert bucket.full(0.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 0.5), max_size=60), st.floats(0.5, 50), st.integers(1, 20))
def test_a_bucket_never_lets_more_pass_than_it_says(steps: list[float], rate: float, burst: int) -> None:
    bucket, now, passed = TokenBucket(rate, burst), 0.0, 0
    for step in steps:
        now += step
        passed += bucket.take(now)
    assert passed <= burst + now * rate + 1e-6


def test_a_clock_that_stands_fills_nothing() -> None:
    bucket = TokenBucket(rate=1000, burst=1)
    assert [bucket.take(5.0), bucket.take(5.0), bucket.take(4.0)] == [True, False, False]


def test_who_was_away_long_enough_is_forgotten() -> None:
    async def act() -> None:
        accounts = Accounts(Limits(rate=1.0, burst=2.0))
        asking, connected = accounts.of("pod/a"), accounts.of("pod/b")
        assert asking.requests.take(10.0)
        connected.connections = 1
        accounts.sweep(10.5)
        assert accounts.of("pod/a") is asking
        accounts.sweep(12.0)
        assert accounts.of("pod/a") is not asking
        assert accounts.of("pod/b") is connected

    asyncio.run(act())
