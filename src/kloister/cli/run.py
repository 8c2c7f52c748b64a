from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kloister.cli.console import guarded, say
from kloister.cli.options import StateOption
from kloister.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable

    from kloister.formats.protocol.events import Event
    from kloister.tee.simulated.client import Launch

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def _pairs(values: list[str], option: str) -> dict[str, str]:
    result = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not name or not equals:
            raise Misconfigured("option-pair", f"{option} takes NAME=VALUE, not {value!r}.")
        result[name] = content
    return result


def _forward(running: Launch) -> None:
    for number in _FORWARDED:
        signal.signal(number, lambda received, _frame: running.signal(received))


def _printer(*, timings: bool) -> Callable[[Event], None]:
    from kloister.formats.protocol.events import Log, Phase, Started

    def show(event: Event) -> None:
        if isinstance(event, Log):
            say(event.text)
        elif timings and isinstance(event, Phase):
            say(f"phase {event.name} {event.us / 1000:.1f} ms")
        elif timings and isinstance(event, Started):
            say(f"enclave {event.enclave} MRENCLAVE {event.mrenclave}")

    return show


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
    from kloister.cli.stack import SIMULATED
    from kloister.serve import launch
    from kloister.serve.stack import look
    from kloister.serve.state import State

    place = State.at(state)
    say(SIMULATED)
    options = launch.RunOptions(
        broker=look(place).address if broker is None else broker,
        slots=_pairs(slot or [], "--slot"),
        arguments=tuple(arguments) if arguments else None,
        mounts={name: Path(path) for name, path in _pairs(mount or [], "--mount").items()},
        debug=debug,
    )
    pack = launch.open_pack(place, image)
    with launch.launch(place, pack, options) as running:
        _forward(running)
        code = launch.finish(running, _printer(timings=timings))
    sys.exit(code)
