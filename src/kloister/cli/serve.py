from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloister.cli.attestation import attestation
from kloister.cli.console import guarded
from kloister.cli.options import StateOption
from kloister.cli.serve_cluster import controller, webhook
from kloister.cli.serve_node import node
from kloister.cli.sources import Choice, SourceCaOption, SourceOption, UpdateOption
from kloister.cli.verify_inputs import Inputs
from kloister.cli.words import options

serve_app = typer.Typer(no_args_is_help=True, help="Run one daemon in the foreground.")
serve_app.command()(attestation)


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
    admin_listen: Annotated[
        str, typer.Option(help="HOST:PORT of administration over mutual TLS [default: the socket only].")
    ] = "",
    admin_name: Annotated[str, typer.Option(help="The name that administrators reach it by.")] = "localhost",
    source: SourceOption = None,
    source_ca: SourceCaOption = None,
    update: UpdateOption = None,
    root: Annotated[
        list[Path] | None,
        typer.Option("--root", metavar="FILE", help="With --source: trust this root instead of Intel's; repeat."),
    ] = None,
) -> None:
    """Run the broker until SIGTERM.

    With --admin-listen, STATE/broker/admin-client.pem and .key are an administrator's certificate; copy them to where
    `kloister policy` runs and set KLOISTER_ADMIN, KLOISTER_ADMIN_NAME, KLOISTER_ADMIN_CA, KLOISTER_ADMIN_CERTIFICATE
    and KLOISTER_ADMIN_KEY there.

    It admits the simulated platform beside it; with --source it admits platforms that Intel vouches for instead, and
    fetches the collateral of each, once for all of its enclaves.

    Examples:  kloister serve broker --listen 127.0.0.1:7443;  kloister serve broker --source pccs+https://pccs:8081
    """
    from kloister.serve.broker import Platforms, Remote, run
    from kloister.serve.state import State
    from kloister.services.broker.binding import parse_address

    with options():
        parse_address(listen)
        if admin_listen:
            parse_address(admin_listen)
    place = State.at(state)
    platforms = None
    if source:
        chosen = Choice(sources=source, ca=source_ca, update=update, cache=place.broker / "collateral")
        named = Inputs(roots=root or ()).intel_roots()
        platforms = Platforms(chosen.settings(), tuple(named))
    elif root:
        raise typer.BadParameter("--root goes with --source.")
    run(place.root, listen, Remote(admin_listen, admin_name) if admin_listen else None, platforms)


serve_app.command()(webhook)
serve_app.command()(controller)
serve_app.command()(node)
