"""Runs shares of work in processes side by side: threads would wait for each other's interpreter lock."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence

from kloister.errors import Denied, KloisterError, Malformed, Unavailable

WORKERS = max(1, min(4, len(os.sched_getaffinity(0))))
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM})
_FAMILIES = {family.__name__: family for family in (Denied, Malformed, Unavailable)}
_REPORT_LIMIT = 60_000  # bytes of a worker's error: less than a pipe holds


def run(shares: Sequence[Callable[[], None]]) -> None:
    """Run every share: the first in this process, the others in children that end with it.

    Raises:
        KloisterError, OSError: of the first share that failed.
    """
    children = [_start(share) for share in shares[1:]]
    failure: Exception | None = None
    try:
        for share in shares[:1]:
            share()
    except (KloisterError, OSError) as error:
        failure = error
    for pid, pipe in children:
        failure = _finish(pid, pipe) or failure
    if failure:
        raise failure


def _start(share: Callable[[], None]) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        os.close(reading)
        os.write(writing, _outcome(share))
        status = 0
    finally:
        os._exit(status)


def _outcome(share: Callable[[], None]) -> bytes:
    try:
        share()
    except KloisterError as error:
        return json.dumps([type(error).__name__, error.code, error.text, error.hint]).encode()[:_REPORT_LIMIT]
    except OSError as error:
        path = os.fsdecode(error.filename) if error.filename else ""
        return json.dumps(["OSError", error.errno, error.strerror, path]).encode()[:_REPORT_LIMIT]
    return b"[]"


def _finish(pid: int, pipe: int) -> Exception | None:
    with os.fdopen(pipe, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    if not said:
        return Unavailable("fill-failed", "A process that filled the sandbox's root ended unexpectedly.")
    outcome = json.loads(said)
    if not outcome:
        return None
    if outcome[0] == "OSError":
        return OSError(*outcome[1:])
    return _FAMILIES.get(outcome[0], KloisterError)(*outcome[1:])
