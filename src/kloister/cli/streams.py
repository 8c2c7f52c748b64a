"""Standard output and error: written whole or not at all, whatever the names, the terminal and the disk are like."""

from __future__ import annotations

import io
import os
import sys

from kloister.cli.words import FAILED, from_os_error, say


def prepare() -> None:
    """Names may hold bytes that are no text, and a terminal may know few characters: neither ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def finish(status: int) -> int:
    """The exit status once the result is really written: a full disk is noticed here, not after the last line."""
    if sys.stdout is None:  # closed by whoever started us
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard()
        if not isinstance(error, BrokenPipeError):
            failure = from_os_error(error)
            say(f"kloister: The result could not be written: {failure.text} [{failure.code}]")
        return status or FAILED
    return status


def is_watched() -> bool:
    """Whether a person watches standard error: progress is shown to nobody else."""
    return sys.stderr is not None and sys.stderr.isatty()


def _discard() -> None:
    """What is left goes nowhere: the interpreter would try again at its end, and fail in words of its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
