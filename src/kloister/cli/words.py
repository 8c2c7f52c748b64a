"""What commands say and how they fail, without Typer: `run` must start fast, and Typer takes 90 ms to import."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kloister.errors import KloisterError, Misconfigured

SIMULATED = "This is a simulated SGX platform: it gives the developer's loop, not confidentiality. Root can read it."
FAILED = 1  # exit status of everything that is refused or fails
MISUSED = 2  # as Typer has it for what it refuses itself
_INTERRUPTED = 130  # 128 + SIGINT, as a shell has it

_OS_HINTS = {
    errno.ENOSPC: "Free some space there, or choose another place with --state or TMPDIR, and run the command again.",
    errno.ENOENT: "Check the name.",
    errno.EACCES: "Check the owner and the mode of the file and of its directories.",
    errno.EPERM: "Run `kloister doctor` to see what this machine does not allow.",
    errno.EISDIR: "Name a file, not a directory.",
    errno.EADDRINUSE: "Another program uses this address; choose another port.",
    errno.EROFS: "The file system is mounted read-only; choose another place.",
    errno.EDQUOT: "Your quota there is used up: free some space, or choose another place.",
    errno.EFBIG: "Files there may not become that large; choose another place.",
    errno.ENOTDIR: "A part of the path is a file, not a directory: check the name.",
    errno.ELOOP: "Symbolic links there lead in a circle: check the name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


class Misuse(Exception):
    """An option whose value cannot be meant: the same sentence, but exit status 2.

    Args:
        error: what is wrong with the value.
    """

    def __init__(self, error: KloisterError) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def options() -> Iterator[None]:
    """Around the reading of options: whatever is refused there is misuse."""
    try:
        yield
    except KloisterError as error:
        raise Misuse(error) from None


@contextmanager
def read_from(place: object, hint: str) -> Iterator[None]:
    """Around the reading of a file's content: a refusal names the file, and `hint` says which file is wanted."""
    try:
        yield
    except KloisterError as error:
        text = error.text if str(place) in error.text else f"{place}: {error.text}"
        raise type(error)(error.code, text, error.hint or hint) from None


def print_json(value: Any) -> None:
    """One JSON object on stdout, for machines; names that are no text (not UTF-8) are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)


def say(text: str) -> None:
    """A line for the person, on stderr, so that stdout stays a result."""
    if sys.stderr is not None:  # closed by whoever started us; print would take stdout instead
        print(text, file=sys.stderr, flush=True)


def from_os_error(error: OSError) -> KloisterError:
    """An operating system's error as one of ours: what failed, on which file, and what to do."""
    what = error.strerror or str(error)
    where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
    hint = _OS_HINTS.get(error.errno or 0, "")
    return Misconfigured(f"os-{errno.errorcode.get(error.errno or 0, 'error').lower()}", f"{what}{where}.", hint)


def told(error: BaseException, *, as_json: bool = False) -> int:
    """Say why a command fails, as a sentence or as JSON; the exit status. Nothing is said of an interrupt.

    Raises:
        BaseException: the error itself, where it ends the interpreter or a traceback is wanted.
    """
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return FAILED  # whoever read our result has gone; there is nobody to tell
    if isinstance(error, Misuse):
        _report(error.error, as_json=as_json)
        return MISUSED
    if isinstance(error, OSError):
        error = from_os_error(error)
    elif not isinstance(error, KloisterError):
        if os.environ.get("KLOISTER_TRACEBACK") or not isinstance(error, Exception):
            raise error
        error = _internal(error)
    _report(error, as_json=as_json)
    return FAILED


def _report(error: KloisterError, *, as_json: bool) -> None:
    if as_json:
        print_json({"error": error.as_json()})
        return
    say(f"kloister: {error.text} [{error.code}]")
    if error.hint:
        say(f"  {error.hint}")


def _internal(error: Exception) -> KloisterError:
    return KloisterError(
        "internal",
        f"This should not have happened: {type(error).__name__}.",
        "Please report it; KLOISTER_TRACEBACK=1 shows where.",
    )
