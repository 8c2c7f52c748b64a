"""One parser under fuzzing, and what has to hold whatever it is given."""

from __future__ import annotations

import resource
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kloister.errors import KloisterError, Malformed, Unverified

CPU_SECONDS = 2.0  # for one input of at most `LARGEST` bytes; the slowest target needs some hundredths
MEMORY = 24 << 20  # bytes that one input may make the parser hold; a whole verification holds about one MiB
_SENTENCE = 8192  # characters
LARGEST = 64 << 10  # bytes: length fields and repetition are reached long before


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser, how it may refuse, and where mutation begins.

    Attributes:
        name: on the command line.
        read: the parser, or a verification that begins with bytes.
        seeds: well-formed inputs, made by our own generators.
        build: where the format has one form only: back to bytes, which must read as the same value.
        refusals: the families that the docstring of `read` names.
    """

    name: str
    read: Callable[[bytes], Any]
    seeds: Callable[[], list[bytes]]
    build: Callable[[Any], bytes] | None = None
    refusals: tuple[type[KloisterError], ...] = (Malformed, Unverified)


@dataclass(slots=True)
class Tally:
    """How many inputs were accepted and refused, and for which reasons."""

    accepted: int = 0
    codes: dict[str, int] = field(default_factory=dict)

    def refuse(self, refusal: KloisterError, name: str) -> None:
        """Count a refusal; its sentence ends in logs and terminals, so it must not repeat the input at length."""
        assert len(str(refusal)) < _SENTENCE, f"{name}: {refusal.code} repeats the input"
        self.codes[refusal.code] = self.codes.get(refusal.code, 0) + 1

    @property
    def executions(self) -> int:
        """All of them."""
        return self.accepted + sum(self.codes.values())


def examine(target: Target, data: bytes, tally: Tally) -> None:
    """Give the target one input.

    Raises:
        AssertionError: it took too long, or what it accepted does not read the same when it is written again.
        Exception: whatever came out that is none of the target's refusals.
    """
    before = _cpu()
    try:
        value = target.read(data)
    except target.refusals as refusal:
        tally.refuse(refusal, target.name)
    else:
        tally.accepted += 1
        if target.build is not None:
            assert target.read(target.build(value)) == value, f"{target.name}: reads differently when written again"
    spent = _cpu() - before
    assert spent < CPU_SECONDS, f"{target.name}: {len(data)} bytes took {spent:.1f} s"


def examine_memory(target: Target, data: bytes, tally: Tally) -> None:
    """As `examine`, with the memory counted that the parser holds at most; ten times slower."""
    tracemalloc.start()
    try:
        examine(target, data, tally)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY, f"{target.name}: {len(data)} bytes took {peak >> 20} MiB of memory"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
