"""Programs run to their end, and waiting with a deadline."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

PATIENCE = 180.0
"""Seconds that something may take which takes seconds on a quiet machine; who waits goes on as soon as it is there."""

Found = TypeVar("Found")


class BedError(Exception):
    """The bed cannot do what was asked; the message says why and, where it is known, what to do."""


def run(*words: str | Path, seconds: float = 120, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """The standard output of a program that succeeds.

    Raises:
        BedError: it is missing, fails or takes longer than `seconds`.
    """
    command = [str(word) for word in words]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=seconds, env=env, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BedError(f"{_short(command)}: {error}") from None
    if done.returncode:
        raise BedError(
            f"{_short(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:].strip()}"
        )
    return done.stdout


def wait_for(what: str, condition: Callable[[], Found], seconds: float = PATIENCE, pause: float = 0.2) -> Found:
    """Ask until the condition holds; what it gave then. A question that cannot be asked yet (BedError) is asked again.

    Raises:
        BedError: it does not hold within `seconds`; `what` names it, and the last error follows.
    """
    deadline, said = time.monotonic() + seconds, ""
    while True:
        try:
            if found := condition():
                return found
        except BedError as error:
            said = f" ({error})"
        if time.monotonic() > deadline:
            raise BedError(f"not within {seconds:g} s: {what}{said}")
        time.sleep(pause)


def say(text: str) -> None:
    """Tell the user at once what goes on."""
    sys.stdout.write(f"cluster: {text}\n")
    sys.stdout.flush()


def _short(command: list[str]) -> str:
    text = " ".join(command)
    return text if len(text) < 300 else text[:300] + " ..."
