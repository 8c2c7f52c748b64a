"""How every command speaks: results on stdout, everything else on stderr, no traceback, exit codes 0, 1 and 2."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, ParamSpec, TypeVar

import typer

from kloister.cli.words import from_os_error, print_json, say, told

__all__ = ["JsonFlag", "from_os_error", "guarded", "print_json", "say"]

P = ParamSpec("P")
R = TypeVar("R")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object (the same as -o json).")]


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: every failure becomes a sentence (or JSON where the command's `as_json` is set) and exit 1."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- no traceback reaches a user
            raise typer.Exit(told(error, as_json=bool(kwargs.get("as_json", False)))) from None

    return wrapper
