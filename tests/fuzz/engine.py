"""The plain engine: random mutation, repeatable from its seed. It needs nothing but Python."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.fuzz.mutation import mutate
from tests.fuzz.target import Tally, Target, examine, examine_memory

_MEMORY_EVERY = 16  # executions: counting memory is slow
_POOL = 500  # inputs that are mutated further, beside the seeds


def run(target: Target, seed: int, enough: Callable[[int], bool]) -> Tally:
    """Mutate until `enough` says so of the number of executions.

    Inputs that are refused for a reason not seen before are kept and mutated further: a poor man's coverage.

    Raises:
        FoundError: something that must not happen.
    """
    tally, seeds = Tally(), target.seeds()
    pool, rng = list(seeds), Random(f"{target.name} {seed}")
    for one in seeds:
        _one(target, one, tally, memory=True)
    if tally.accepted != len(seeds):
        raise AssertionError(f"{target.name}: a seed is refused: {tally.codes}")
    for number in itertools.count():
        if enough(number):
            return tally
        known = len(tally.codes)
        data = mutate(rng, rng.choice(pool), seeds)
        _one(target, data, tally, memory=number % _MEMORY_EVERY == 0)
        if len(tally.codes) > known and len(pool) < _POOL:
            pool.append(data)
    raise AssertionError("unreachable")


def for_seconds(seconds: float) -> Callable[[int], bool]:
    """Enough after that time."""
    end = time.monotonic() + seconds
    return lambda _: time.monotonic() >= end


class FoundError(Exception):
    """An input that does what must not be done.

    Args:
        target: which parser.
        data: the input.
        error: what happened.
    """

    def __init__(self, target: Target, data: bytes, error: BaseException) -> None:
        super().__init__(
            f"{target.name}: {type(error).__name__}: {error}; the input, in hexadecimal: {data[:512].hex()}"
        )
        self.data = data

    def save(self, folder: Path) -> Path:
        """Write the input, named by its hash."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"found-{hashlib.sha256(self.data).hexdigest()[:16]}"
        path.write_bytes(self.data)
        return path


def _one(target: Target, data: bytes, tally: Tally, *, memory: bool) -> None:
    try:
        (examine_memory if memory else examine)(target, data, tally)
    except Exception as error:
        raise FoundError(target, data, error) from error
