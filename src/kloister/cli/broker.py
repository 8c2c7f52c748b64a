"""What the verbs that talk to the broker share."""

from __future__ import annotations

import errno
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kloister.errors import Malformed

if TYPE_CHECKING:
    from kloister.client.admin import AdminClient


def admin(state: Path | None) -> AdminClient:
    """A client of the broker of a state directory."""
    from kloister.client.admin import AdminClient
    from kloister.serve.state import State

    return AdminClient(State.at(state).admin)


def split(policy: str) -> tuple[str, str]:
    """`NAMESPACE/NAME` in two. Raises `Malformed` `policy-name`."""
    namespace, slash, name = policy.partition("/")
    if not slash or not namespace or not name or "/" in name:
        raise Malformed("policy-name", f"{policy} is not NAMESPACE/NAME.", "See `kloister policy list`.")
    return namespace, name


def read(path: Path, limit: int) -> bytes:
    """A file, or standard input for `-`, of at most `limit` bytes. Raises `Malformed` `file-size`."""
    if str(path) == "-":
        return _limited(standard_input(), limit, "The input")
    with path.open("rb") as file:
        return _limited(file, limit, str(path))


def standard_input() -> BinaryIO:
    """The bytes of standard input. Raises `OSError` where whoever started us has closed it."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard input")
    return sys.stdin.buffer


def _limited(file: BinaryIO, limit: int, what: str) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise Malformed("file-size", f"{what} has more than {limit} bytes.", "Check the name.")
    return data


def moment(unix: int | None) -> str:
    """A time for people, `-` for none."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if unix else "-"
