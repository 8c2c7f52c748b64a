from __future__ import annotations

from typing import Annotated, Any

import typer

from kloister.cli.console import JsonFlag, guarded, print_json, say
from kloister.cli.options import StateOption
from kloister.cli.words import SIMULATED, options


@guarded
def up(
    state: StateOption = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT of the broker [default: 127.0.0.1:7443].")] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Start the embedded stack: simulated platform, broker and attestation service. Doing it twice changes nothing.

    Examples:  kloister up;  kloister up --state /tmp/one --listen 127.0.0.1:7500
    """
    from kloister.serve import stack
    from kloister.serve.state import State
    from kloister.services.broker.binding import parse_address

    with options():
        if listen is not None:
            parse_address(listen)
    place = State.at(state)
    running, started = stack.up(place, listen)
    result = stack.status(place)
    for sentence in result["platform"].get("notHeld") or [SIMULATED]:
        say(sentence)
    if as_json:
        print_json({"started": started, **result})
        return
    print(f"{'Started' if started else 'Already running'}: broker at https://{running.address}, state in {place.root}")
    print(f"Attestation service at https://{running.attestation_address}")


@guarded
def down(state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """Stop the embedded stack. Its state stays, and `kloister up` goes on from it.

    Examples:  kloister down;  kloister down --state /tmp/one
    """
    from kloister.serve import stack
    from kloister.serve.state import State

    place = State.at(state)
    stopped = stack.down(place)
    if as_json:
        print_json({"stopped": stopped})
    else:
        print(f"Stopped; the state stays in {place.root}" if stopped else "Nothing was running.")


@guarded
def status(state: StateOption = None, *, as_json: JsonFlag = False) -> None:
    """Say what of the stack runs, where, and what it holds. Exit code 1 if it does not run.

    Examples:  kloister status;  kloister status --json
    """
    from kloister.serve import stack
    from kloister.serve.state import State

    place = State.at(state)
    result = stack.status(place)
    if as_json:
        print_json(result)
    else:
        _table(result)
    if not result["running"]:
        if not as_json:
            say("Start it with `kloister up`.")
        raise typer.Exit(1)


def _table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "is")
    table.add_row("state", result["state"])
    table.add_row("broker's address", result["address"] or "-")
    for name in ("platform", "broker", "attestation"):
        for key, value in result[name].items():
            table.add_row(f"{name} {key}", str(value))
    Console().print(table)
