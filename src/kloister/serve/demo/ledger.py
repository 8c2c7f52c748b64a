"""What the demo did, what it expected, and what came: the table at its end and the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kloister import clock
from kloister.errors import KloisterError

DONE, REFUSED, SKIPPED, OPEN, FAILED = "done", "refused", "skipped", "not held", "FAILED"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `seconds` is wall time."""

    step: str
    result: str
    note: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"step": self.step, "result": self.result, "note": self.note, "seconds": round(self.seconds, 2)}


@dataclass(slots=True)
class Ledger:
    """Collects rows; `on_row` shows each as it comes."""

    on_row: Callable[[Row], None]
    rows: list[Row] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any expectation did not come true."""
        return any(row.result == FAILED for row in self.rows)

    def note(self, step: str, result: str, note: str, seconds: float = 0.0) -> None:
        """Add a row as it is."""
        row = Row(step, result, note, seconds)
        self.rows.append(row)
        self.on_row(row)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """A step that must succeed; what it appends to the list is its note."""
        begin = clock.monotonic()
        said: list[str] = []
        try:
            yield said
        except KloisterError as error:
            self.note(name, FAILED, str(error), clock.monotonic() - begin)
            raise
        self.note(name, DONE, "; ".join(said), clock.monotonic() - begin)

    def attack(self, name: str, expected: str, act: Callable[[], Any]) -> None:
        """An act that must be refused with the reason code `expected`, and with no other."""
        begin = clock.monotonic()
        try:
            outcome = act()
        except KloisterError as error:
            result = REFUSED if error.code == expected else FAILED
            note = f"{error.text} [{error.code}]" + ("" if result == REFUSED else f", expected {expected}")
        else:
            result, note = FAILED, f"it went through ({outcome!r}), expected {expected}"
        self.note(name, result, note, clock.monotonic() - begin)
