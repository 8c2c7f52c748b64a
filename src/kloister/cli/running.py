"""What `kloister run` does, however its command line was read."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kloister.cli.words import SIMULATED, options, say
from kloister.errors import Misconfigured

if TYPE_CHECKING:
    from kloister.formats.protocol.events import Event
    from kloister.tee.simulated.client import Launch

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Request:
    """The command line of `kloister run`; its fields are the options of that name."""

    image: str
    arguments: tuple[str, ...] = ()
    state: Path | None = None
    broker: str | None = None
    slot: tuple[str, ...] = ()
    mount: tuple[str, ...] = ()
    debug: bool = False
    timings: bool = False


def follow(request: Request) -> int:
    """Run the image in an enclave, from its start to its end; the application's exit status.

    Raises:
        KloisterError: why it did not start, or did not go on.
    """
    from kloister.serve import launch
    from kloister.serve.looking import look
    from kloister.serve.state import State

    with options():
        slots, mounts = _pairs(request.slot, "--slot"), _pairs(request.mount, "--mount")
    place = State.at(request.state)
    say(SIMULATED)
    chosen = launch.RunOptions(
        broker=look(place).address if request.broker is None else request.broker,
        slots=slots,
        arguments=request.arguments or None,
        mounts={name: Path(path) for name, path in mounts.items()},
        debug=request.debug,
    )
    pack = launch.open_pack(place, request.image, lambda text: say(f"kloister: {text}"))
    with launch.launch(place, pack, chosen) as running:
        _forward(running)
        return launch.finish(running, _printer(timings=request.timings))


def _pairs(values: Iterable[str], option: str) -> dict[str, str]:
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
