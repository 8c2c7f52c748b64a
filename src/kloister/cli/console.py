"""How every command speaks: results on stdout, everything else on stderr, no traceback, exit codes 0, 1 and 2."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

from kloister.errors import KloisterError, Misconfigured

P = ParamSpec("P")
R = TypeVar("R")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object (the same as -o json).")]

_OS_HINTS = {
    errno.ENOSPC: "Free some space there, or choose another place with --state or TMPDIR, and run the command again.",
    errno.ENOENT: "Check the name.",
    errno.EACCES: "Check the owner and the mode of the file and of its directories.",
    errno.EPERM: "Run `kloister doctor` to see what this machine does not allow.",
    errno.EISDIR: "Name a file, not a directory.",
    errno.EADDRINUSE: "Another program uses this address; choose another port.",
    errno.EROFS: "The file system is mounted read-only; choose another place.",
}


def print_json(value: Any) -> None:
    """One JSON object on stdout, for machines."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """A line for the person, on stderr, so that stdout stays a result."""
    print(text, file=sys.stderr, flush=True)


def from_os_error(error: OSError) -> KloisterError:
    """An operating system's error as one of ours: what failed, on which file, and what to do."""
    what = error.strerror or str(error)
    where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
    hint = _OS_HINTS.get(error.errno or 0, "")
    return Misconfigured(f"os-{errno.errorcode.get(error.errno or 0, 'error').lower()}", f"{what}{where}.", hint)


def fail(error: KloisterError, *, as_json: bool = False) -> NoReturn:
    """Print the refusal or failure and leave with exit code 1."""
    if as_json:
        print_json({"error": error.as_json()})
    else:
        say(f"kloister: {error.text} [{error.code}]")
        if error.hint:
            say(f"  {error.hint}")
    raise typer.Exit(1)


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: every failure becomes a sentence (or JSON where the command's `as_json` is set) and exit 1."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        as_json = bool(kwargs.get("as_json", False))
        try:
            return command(*args, **kwargs)
        except KloisterError as error:
            fail(error, as_json=as_json)
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None
        except OSError as error:
            fail(from_os_error(error), as_json=as_json)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if os.environ.get("KLOISTER_TRACEBACK"):
                raise
            fail(_internal(error), as_json=as_json)

    return wrapper


def _internal(error: Exception) -> KloisterError:
    return KloisterError(
        "internal",
        f"This should not have happened: {type(error).__name__}.",
        "Please report it; KLOISTER_TRACEBACK=1 shows where.",
    )
