from __future__ import annotations

from typing import Annotated

import typer

from kloister.cli.attestation import attestation
from kloister.cli.console import guarded
from kloister.cli.options import StateOption
from kloister.cli.serve_cluster import controller, webhook
from kloister.cli.serve_node import node
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
) -> None:
    """Run the broker until SIGTERM.

    With --admin-listen, STATE/broker/admin-client.pem and .key are an administrator's certificate; copy them to where
    `kloister policy` runs and set KLOISTER_ADMIN, KLOISTER_ADMIN_NAME, KLOISTER_ADMIN_CA, KLOISTER_ADMIN_CERTIFICATE
    and KLOISTER_ADMIN_KEY there.

    Example:  kloister serve broker --listen 127.0.0.1:7443
    """
    from kloister.serve.broker import Remote, run
    from kloister.serve.state import State
    from kloister.services.broker.listeners import parse_address

    with options():
        parse_address(listen)
        if admin_listen:
            parse_address(admin_listen)
    run(State.at(state).root, listen, Remote(admin_listen, admin_name) if admin_listen else None)


serve_app.command()(webhook)
serve_app.command()(controller)
serve_app.command()(node)
