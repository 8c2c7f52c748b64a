"""`kloister verify --batch`: a line per piece of evidence, a bar while it works, sums at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

import typer

from kloister import clock
from kloister.cli.broker import standard_input
from kloister.cli.console import say
from kloister.cli.sources import Choice
from kloister.cli.verify_inputs import MAX_ROOT, Inputs, read
from kloister.cli.verify_text import Manner
from kloister.formats.tokens.jwk import MAX_SIZE as MAX_KEYS
from kloister.services.appraisal.batch import Row, Setup, Summary, judge_all
from kloister.services.appraisal.batch_items import count, items, passed_over
from kloister.services.appraisal.inputs import MAX_COLLATERAL
from kloister.trust.policy.appraisal import MAX_SIZE as MAX_POLICY

_NOT_OF_MANY = {"--bundle-out": "bundle_out", "--image": "image", "--vek": "vek", "--chain": "chain", "--crl": "crl"}
_NAMED = 3  # files that were passed over, by name
_QUESTIONS = ("other_collateral", "other_times", "other_updates", "other_evaluations")


def run_batch(paths: Sequence[str], inputs: Inputs, choice: Choice, manner: Manner, jobs: int | None) -> bool:
    """Judge everything under the paths; whether all of it was accepted. Rows on stdout, sums on stderr."""
    setup = _setup(inputs, choice, manner)
    summary = Summary()
    found = items(paths, standard_input() if "-" in paths else None)
    rows = judge_all(found, setup, jobs or os.cpu_count() or 1)
    for row in _watched(rows, paths):
        summary.add(row)
        print(row.text if setup.as_json else _line(row))
    for line in summary.lines():
        say(line)
    _say_passed_over(passed_over(paths))
    return summary.total > 0 and summary.accepted == summary.total


def _say_passed_over(names: Sequence[str]) -> None:
    """What was not judged, so that nobody takes it for accepted."""
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        say(
            f"{len(names)} passed over, whose extensions are not those of evidence: {', '.join(names[:_NAMED])}{more}."
            " Name them to have them judged."
        )


def _setup(inputs: Inputs, choice: Choice, manner: Manner) -> Setup:
    for option, name in _NOT_OF_MANY.items():
        if getattr(inputs, name) is not None:
            raise typer.BadParameter(f"{option} is for one piece of evidence, not for --batch.")
    if manner.explain or any(getattr(inputs, name) for name in _QUESTIONS):
        raise typer.BadParameter("--explain and --what-if-... are for one piece of evidence, not for --batch.")
    return Setup(
        roots=tuple(read(each, MAX_ROOT, "root") for each in inputs.roots),
        policy=None if inputs.policy is None else read(inputs.policy, MAX_POLICY, "appraisal-policy"),
        collateral=None if inputs.collateral is None else read(inputs.collateral, MAX_COLLATERAL, "collateral"),
        proof_only=inputs.proof_only,
        at=inputs.at or clock.now(),
        show_identifiers=manner.show_identifiers,
        as_json=manner.as_json,
        keys=None if inputs.jwks is None else read(inputs.jwks, MAX_KEYS, "jwks"),
        issuer=inputs.issuer,
        provider=None if inputs.collateral else choice.provider(),
    )


def _line(row: Row) -> str:
    words = ["accept" if row.accepted else "reject", row.tee or "-", row.platform or "-", row.status or "-", row.source]
    return "  ".join([*words, *([f"[{row.reason}]"] if row.reason else [])])


def _watched(rows: Iterable[Row], paths: Sequence[str]) -> Iterator[Row]:
    """The same rows, with a bar on a terminal; how many there will be is counted first, but for standard input."""
    if not sys.stderr.isatty():
        yield from rows
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("judged"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=count(paths))
        for row in rows:
            bar.advance(task)
            yield row
