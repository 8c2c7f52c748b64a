"""Where the embedded stack keeps what it must not lose."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kloister.errors import Malformed, Misconfigured

DEFAULT_ADDRESS = "127.0.0.1:7443"  # of the broker
ATTESTATION_ADDRESS = "127.0.0.1:7444"
_STACK_LIMIT = 64 * 1024  # bytes; the document has a dozen short fields


@dataclass(frozen=True, slots=True)
class State:
    """The directories of architecture.md, section 12, below one root."""

    root: Path

    @classmethod
    def at(cls, given: Path | None) -> State:
        """`given`, else `$XDG_DATA_HOME/kloister`, else `~/.local/share/kloister`; made private if it is new."""
        data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        state = cls((given or Path(data_home) / "kloister").absolute())
        for directory in (state.root, state.platform, state.broker, state.logs, state.keys, state.policies):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if state.root.stat().st_uid not in (os.getuid(), 0):
            raise Misconfigured("state-owner", f"{state.root} belongs to another user.", "Choose one with --state DIR.")
        return state

    @property
    def platform(self) -> Path:
        """The simulated platform's fuses and control socket."""
        return self.root / "platform"

    @property
    def control(self) -> Path:
        """The platform's control socket."""
        return self.platform / "control.sock"

    @property
    def broker(self) -> Path:
        """The broker's database, keys and administration socket."""
        return self.root / "broker"

    @property
    def admin(self) -> Path:
        """The broker's administration socket."""
        return self.broker / "admin.sock"

    @property
    def ca(self) -> Path:
        """The certificate of the CA that converted images pin."""
        return self.broker / "ca.pem"

    @property
    def attestation(self) -> Path:
        """The attestation service's database, keys, and the token of who administers it."""
        return self.root / "attestation"

    @property
    def attesting(self) -> Path:
        """A socket that the attestation service has as soon as it is ready; nothing is said there."""
        return self.attestation / "ready.sock"

    @property
    def images(self) -> Path:
        """An OCI layout with one tag per local name."""
        return self.root / "images"

    @property
    def packs(self) -> Path:
        """Untrusted, rebuilt at will."""
        return self.root / "cache" / "packs"

    @property
    def keys(self) -> Path:
        """The user's signing key and key caches."""
        return self.root / "keys"

    @property
    def policies(self) -> Path:
        """Policies that conversions of local images emitted."""
        return self.root / "policies"

    @property
    def logs(self) -> Path:
        """What the daemons say."""
        return self.root / "logs"

    @property
    def stack(self) -> Path:
        """Which processes `up` started, and where they listen."""
        return self.root / "stack.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` at a time per state directory; the kernel drops the lock of a killed holder."""
        lock = os.open(self.root / "stack.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def private(directory: Path) -> Path:
    """Make it ours alone. Raises `Misconfigured`: `state-owner`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.geteuid():
        raise Misconfigured("state-owner", f"{directory} belongs to another user.", "Choose another with --state.")
    directory.chmod(0o700)
    return directory


def only_one(directory: Path) -> IO[bytes] | None:
    """The lock of a daemon's directory, which the kernel drops with the process; None where another one has it."""
    file = os.fdopen(os.open(directory / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or an empty one where there is none."""
    try:
        data = path.read_bytes()[:_STACK_LIMIT]
        document = json.loads(data)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Malformed("stack-document", f"{path} is damaged.", "Run `kloister up`: it is written anew.")
    return document
