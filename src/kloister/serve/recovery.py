"""Staged TCB recoveries of a state's platform: one small document, read anew at each question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kloister import files
from kloister.simulator.recovery import Recovery
from kloister.tee.simulated.store import Store

_NAME = "recovery.json"


@dataclass(frozen=True, slots=True)
class Recoveries:
    """Reads where the platform stands; UpToDate where nobody said anything else."""

    store: Store

    def __call__(self) -> Recovery:
        """The recovery now. Raises `Malformed`: `recovery-*`."""
        data = self.store.document(_NAME)
        return Recovery() if data is None else Recovery.parse(data)


def read_recovery(directory: Path) -> Recovery:
    """The recovery of the platform below `directory`, running or not. Raises `Malformed`: `recovery-*`."""
    try:
        return Recovery.parse((directory / _NAME).read_bytes())
    except FileNotFoundError:
        return Recovery()


def write_recovery(directory: Path, recovery: Recovery) -> None:
    """Set it. A running daemon, which may be another user, reads it at the next question: it holds no secret."""
    files.replace(directory / _NAME, recovery.build(), files.PUBLIC)
