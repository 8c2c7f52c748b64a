from __future__ import annotations

import asyncio
import threading

import pytest

from kloister.errors import Denied, KloisterError, Unavailable
from kloister.services.attestation.lanes import Lane


def test_a_lane_has_an_end_and_its_places_come_back() -> None:
    gate = threading.Event()

    async def scene() -> list[str]:
        lane = Lane("test", 1, 1, 60)
        under_way = [asyncio.create_task(lane.run(gate.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Denied) as caught:
            await lane.run(gate.wait)
        gate.set()
        assert await asyncio.gather(*under_way) == [True, True]
        assert await lane.run(lambda: "again") == "again"
        return [caught.value.code]

    assert asyncio.run(scene()) == ["rate-exceeded"]


def test_who_waits_too_long_is_told_and_what_never_began_gives_its_place_back() -> None:
    gate = threading.Event()

    async def scene() -> list[str]:
        lane, found = Lane("test", 1, 1, 0.1), []
        for _ in range(4):
            try:
                await lane.run(gate.wait)
            except KloisterError as error:
                found.append(f"{type(error).__name__} {error.code}")
        gate.set()
        return found

    assert asyncio.run(scene()) == [f"{Unavailable.__name__} request-late"] * 4


def test_errors_of_the_work_come_through() -> None:
    def work() -> None:
        raise Denied("policy-missing", "No.")

    with pytest.raises(Denied) as caught:
        asyncio.run(Lane("test", 1, 0, 60).run(work))
    assert caught.value.code == "policy-missing"
