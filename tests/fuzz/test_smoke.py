from __future__ import annotations

from random import Random

import pytest

from kloister.errors import Denied, Malformed
from tests.fuzz import engine
from tests.fuzz.mutation import mutate
from tests.fuzz.target import LARGEST, Target
from tests.fuzz.targets import TARGETS

EXECUTIONS = 300


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_only_the_families_that_are_promised_come_out_within_time_and_memory(name: str) -> None:
    tally = engine.run(TARGETS[name], 1, lambda number: number >= EXECUTIONS)
    assert tally.executions == EXECUTIONS + len(TARGETS[name].seeds())
    assert sum(tally.codes.values()) > EXECUTIONS // 10, "mutation is too weak: nearly all of it is accepted"


def _target(read: object, seed: bytes = b"seed") -> Target:
    return Target(name="example", read=read, seeds=lambda: [seed])  # type: ignore[arg-type]  # whatever a test gives


def _wrong(data: bytes) -> None:
    if data != b"seed":
        raise ValueError("not ours")


def _denied(data: bytes) -> None:
    if data != b"seed":
        raise Denied("denied", "Another family.")


def _greedy(data: bytes) -> int:
    return 0 if data == b"seed" else len(bytearray(30 << 20))


@pytest.mark.parametrize("read", [_wrong, _denied, _greedy])
def test_the_engine_finds_what_must_not_be(read: object) -> None:
    with pytest.raises(engine.FoundError):
        engine.run(_target(read), 1, lambda number: number >= 100)


def test_a_value_that_reads_differently_when_written_again_is_found() -> None:
    unsteady = Target(name="unsteady", read=bytes.strip, seeds=lambda: [b"a"], build=lambda value: b"b" + value)
    with pytest.raises(engine.FoundError, match="reads differently"):
        engine.run(unsteady, 1, lambda number: number >= 1)


def test_a_seed_that_is_refused_is_an_error_of_the_tests() -> None:
    def refuse(_: bytes) -> None:
        raise Malformed("no", "No.")

    with pytest.raises(AssertionError, match="a seed is refused"):
        engine.run(_target(refuse), 1, lambda number: number >= 1)


def test_mutation_is_repeatable_and_bounded() -> None:
    seeds = [b'{"a": [1, "text", {"b": null}]}', bytes(range(256)) * 300]
    for seed in seeds:
        once = [mutate(Random(number), seed, seeds) for number in range(200)]
        assert once == [mutate(Random(number), seed, seeds) for number in range(200)]
        assert max(map(len, once)) <= LARGEST
        assert sum(one != seed for one in once) > 150
