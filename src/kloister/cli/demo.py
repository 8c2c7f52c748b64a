from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kloister.cli.console import JsonFlag, guarded, print_json, say

if TYPE_CHECKING:
    from kloister.serve.demo.ledger import Ledger, Row


@guarded
def demo(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where its temporary directory is made [default: the system's].")
    ] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show the main job on the simulated platform: real images run attested, every attack on them is refused.

    Everything happens in a temporary state directory that is removed at the end. Exit code 1 if any expectation failed.

    Examples:  kloister demo;  kloister demo --dir /var/tmp --json
    """
    from kloister.cli.words import SIMULATED
    from kloister.serve.demo.show import show

    say(SIMULATED)
    ledger = show(_print_row, directory)
    if as_json:
        print_json({"failed": ledger.failed, "rows": [row.as_json() for row in ledger.rows]})
    else:
        _table(ledger)
    raise typer.Exit(1 if ledger.failed else 0)


def _print_row(row: Row) -> None:
    say(f"{row.result:>8}  {row.seconds:5.1f} s  {row.step}" + (f": {row.note}" if row.note else ""))


def _table(ledger: Ledger) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("step", "result", "seconds", title="Kloister on a simulated platform: not confidential against root")
    for row in ledger.rows:
        table.add_row(row.step, row.result, f"{row.seconds:.1f}")
    table.add_row("all", "FAILED" if ledger.failed else "as expected", f"{sum(r.seconds for r in ledger.rows):.1f}")
    Console().print(table)
