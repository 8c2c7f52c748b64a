from __future__ import annotations

from typing import Annotated

import typer

from kloister.cli.console import guarded
from kloister.cli.options import StateOption
from kloister.cli.words import options

serve_app = typer.Typer(no_args_is_help=True, help="Run one daemon in the foreground.")


@serve_app.command()
@guarded
def platform(state: StateOption = None) -> None:
    """Run the simulated SGX platform until SIGTERM.

    Example:  kloister serve platform --state /srv/kloister
    """
    from kloister.serve.platform import run
    from kloister.serve.state import State

    run(State.at(state).root)


@serve_app.command()
@guarded
def broker(
    state: StateOption = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT of the release interface.")] = "127.0.0.1:7443",
) -> None:
    """Run the broker until SIGTERM.

    Example:  kloister serve broker --listen 127.0.0.1:7443
    """
    from kloister.serve.broker import run
    from kloister.serve.state import State
    from kloister.services.broker.listeners import parse_address

    with options():
        parse_address(listen)
    run(State.at(state).root, listen)
