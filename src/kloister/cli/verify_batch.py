"""`kloister verify --batch`: a line per piece of evidence, a bar while it works, sums at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kloister import clock
from kloister.cli.broker import standard_input
from kloister.cli.console import say
from kloister.services.appraisal.batch import Row, Setup, Summary, judge_all
from kloister.services.appraisal.batch_items import items
from kloister.services.appraisal.inputs import MAX_COLLATERAL
from kloister.trust.policy.appraisal import MAX_SIZE as MAX_POLICY

_MAX_ROOT = 64 * 1024  # bytes of a certificate file


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFiles:
    """The options of `kloister verify` that hold for all of a batch."""

    roots: Sequence[Path]
    policy: Path | None
    collateral: Path | None
    proof_only: bool
    at: datetime | None
    show_identifiers: bool
    as_json: bool

    def setup(self, read: Callable[[Path, int, str], bytes]) -> Setup:
        """The files read; `read` takes a path, a limit in bytes, and what it is for errors."""
        return Setup(
            roots=tuple(read(each, _MAX_ROOT, "root") for each in self.roots),
            policy=None if self.policy is None else read(self.policy, MAX_POLICY, "appraisal-policy"),
            collateral=None if self.collateral is None else read(self.collateral, MAX_COLLATERAL, "collateral"),
            proof_only=self.proof_only,
            at=self.at or clock.now(),
            show_identifiers=self.show_identifiers,
            as_json=self.as_json,
        )


def run_batch(paths: Sequence[str], setup: Setup, jobs: int | None) -> bool:
    """Judge everything under the paths; whether all of it was accepted. Rows on stdout, sums on stderr."""
    summary = Summary()
    found = items(paths, standard_input() if "-" in paths else None)
    rows = judge_all(found, setup, jobs or os.cpu_count() or 1)
    for row in _watched(rows):
        summary.add(row)
        print(row.text if setup.as_json else _line(row))
    for line in summary.lines():
        say(line)
    return summary.total > 0 and summary.accepted == summary.total


def _line(row: Row) -> str:
    words = ["accept" if row.accepted else "reject", row.tee or "-", row.platform or "-", row.status or "-", row.source]
    return "  ".join([*words, *([f"[{row.reason}]"] if row.reason else [])])


def _watched(rows: Iterable[Row]) -> Iterator[Row]:
    """The same rows, with a bar on a terminal; how many there are is not known before the end."""
    if not sys.stderr.isatty():
        yield from rows
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.completed} judged"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=None)
        for row in rows:
            bar.advance(task)
            yield row
