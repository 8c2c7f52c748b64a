"""Reads the usual command lines of `kloister run` without Typer, whose import takes longer than all of the command.

It knows what is plain and right; of everything else (help, mistakes, abbreviations) it says None, and Typer answers.
A test compares what both make of many command lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from kloister.cli.running import Request

_VALUES = ("--state", "--broker", "--slot", "--mount")
_FLAGS = ("--debug", "--timings")


def read(words: Iterable[str]) -> Request | None:
    """The request of the words after `run`, or None where Typer has to look."""
    values: dict[str, list[str]] = {name: [] for name in _VALUES}
    flags: set[str] = set()
    positions: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--":
            positions.extend(rest)
        elif word in _FLAGS:
            flags.add(word)
        elif name in _VALUES:
            given = value if equals else next(rest, "-")
            if not equals and given.startswith("-"):
                return None
            values[name].append(given)
        elif word.startswith("-"):
            return None
        else:
            positions.append(word)
    return _request(positions, values, flags) if positions else None


def _request(positions: list[str], values: dict[str, list[str]], flags: set[str]) -> Request:
    state = values["--state"][-1] if values["--state"] else os.environ.get("KLOISTER_STATE", "")
    return Request(
        image=positions[0],
        arguments=tuple(positions[1:]),
        state=Path(state) if state else None,
        broker=values["--broker"][-1] if values["--broker"] else None,
        slot=tuple(values["--slot"]),
        mount=tuple(values["--mount"]),
        debug="--debug" in flags,
        timings="--timings" in flags,
    )
