from __future__ import annotations

import sys
from typing import Annotated

import typer

from kloister.cli import running
from kloister.cli.console import guarded
from kloister.cli.options import StateOption


@guarded
def run(
    image: Annotated[str, typer.Argument(help="A local name, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments the host asks for, after --.")] = None,
    state: StateOption = None,
    broker: Annotated[str | None, typer.Option(help="HOST:PORT of the broker [default: the stack's].")] = None,
    slot: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for a slot that the policy names.")] = None,
    mount: Annotated[list[str] | None, typer.Option(help="NAME=DIR for a named mount of the image.")] = None,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Ask for a debug enclave.")] = False,
    timings: Annotated[bool, typer.Option("--timings", help="Print the phases of the launch on stderr.")] = False,
) -> None:
    """Run a converted image in an enclave on this machine; exit with the application's code.

    Examples:  kloister run clinic;  kloister run oci:./app:app --slot LOG_LEVEL=debug;  kloister run clinic --timings
    """
    request = running.Request(
        image, tuple(arguments or ()), state, broker, tuple(slot or ()), tuple(mount or ()), debug, timings
    )
    sys.exit(running.follow(request))
