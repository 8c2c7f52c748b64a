"""Step 7, second half: the application takes this process over."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kloister.errors import KloisterError, Misconfigured

NOT_EXECUTABLE = 126  # exit statuses as a shell's (POSIX, 2.8.2)
NOT_FOUND = 127
_MAX_DESCRIPTOR = 1 << 20


class NotStarted(Misconfigured):
    """The application cannot be executed; `status` is what the launcher exits with."""

    def __init__(self, error: KloisterError, status: int) -> None:
        super().__init__(error.code, error.text, error.hint)
        self.status = status


def enter(workdir: str) -> None:
    """Go to the image's working directory.

    Raises:
        Misconfigured: `workdir`.
    """
    try:
        os.chdir(workdir)
    except OSError as error:
        raise Misconfigured(
            "workdir", f"The working directory {workdir} cannot be entered: {error.strerror}.", "Correct the image."
        ) from None


def find_program(name: str, path: str) -> str:
    """The file that a shell would run for `name`: itself if it has a slash, else the first executable along `path`.

    Raises:
        NotStarted: `program-not-found` (127), `program-not-executable` (126).
    """
    if "/" in name:
        return name
    seen = ""
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        if not _is_file(candidate):
            continue
        if os.access(candidate, os.X_OK):
            return candidate
        seen = seen or candidate
    if seen:
        raise _not_executable(seen, "it is not marked executable for this user")
    raise _not_found(name, f"no file of that name in {path}")


def close_descriptors(kept: int | None) -> None:
    """Close all but stdio and the channel, which closes itself at execve."""
    if kept is None or kept <= 2:  # noqa: PLR2004 -- stdin, stdout, stderr
        os.closerange(3, _MAX_DESCRIPTOR)
        return
    os.closerange(3, kept)
    os.closerange(kept + 1, _MAX_DESCRIPTOR)


def execute(program: str, arguments: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Replace this process; its memory, and every secret that was only there, goes with it.

    Raises:
        NotStarted: `program-not-found`, `program-not-executable`.
    """
    try:
        os.execve(program, [item.encode() for item in arguments], _encoded(environment))  # noqa: S606 -- no shell, on purpose
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            missing = (
                "it does not exist"
                if not os.path.lexists(program)
                else "the loader or interpreter that it names is not in the image"
            )
            raise _not_found(program, missing) from None
        raise _not_executable(program, os.strerror(error.errno or 0)) from None


def discard_output() -> None:
    """Send stdout and stderr to nowhere, for a policy that says `output: drop`."""
    nowhere = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _encoded(environment: dict[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in environment.items()}


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a part of PATH that this user must not look into
        return False


def _not_found(name: str, why: str) -> NotStarted:
    return NotStarted(
        Misconfigured("program-not-found", f"{name} cannot be started: {why}.", "Correct the image's entry point."),
        NOT_FOUND,
    )


def _not_executable(name: str, why: str) -> NotStarted:
    return NotStarted(
        Misconfigured(
            "program-not-executable", f"{name} cannot be started: {why}.", "Correct the image's entry point."
        ),
        NOT_EXECUTABLE,
    )
