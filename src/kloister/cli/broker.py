"""What the verbs that talk to the broker share."""

from __future__ import annotations

import errno
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kloister.errors import Malformed, Misconfigured

if TYPE_CHECKING:
    from kloister.client.admin import AdminClient


ADDRESS = "KLOISTER_ADMIN"
"""HOST:PORT of a broker's administration over mutual TLS; unset, the socket in the state directory is used."""

_REMOTE = ("KLOISTER_ADMIN_NAME", "KLOISTER_ADMIN_CA", "KLOISTER_ADMIN_CERTIFICATE", "KLOISTER_ADMIN_KEY")
_OTHERS = 0o077  # mode bits that let somebody else than the owner have the file


def admin(state: Path | None) -> AdminClient:
    """A client of the broker of a state directory, or of the one that `KLOISTER_ADMIN` names.

    Raises:
        Misconfigured: `admin-settings`, `admin-key-mode`, `admin-certificate`.
    """
    from kloister.client.admin import AdminClient
    from kloister.serve.state import State

    if os.environ.get(ADDRESS):
        return _remote(os.environ[ADDRESS])
    return AdminClient(State.at(state).admin)


def _remote(address: str) -> AdminClient:
    from kloister.client.admin import RemoteAdminClient

    missing = [name for name in _REMOTE if not os.environ.get(name)]
    if missing or not re.fullmatch(r".+:[0-9]{1,5}", address):
        raise Misconfigured(
            "admin-settings",
            f"{ADDRESS} must be HOST:PORT, and these be set too: {', '.join(_REMOTE)}.",
            f"Missing: {', '.join(missing)}." if missing else f"Unset {ADDRESS} to use the broker's socket.",
        )
    name, ca, certificate, key = (os.environ[setting] for setting in _REMOTE)
    if Path(key).stat().st_mode & _OTHERS:
        raise Misconfigured("admin-key-mode", f"Others may read {key}.", f"Take that away: chmod 600 {key}")
    return RemoteAdminClient(address, name, Path(ca), Path(certificate), Path(key))


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
