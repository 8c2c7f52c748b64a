"""STATE/platform: one daemon per directory, fuses made once, sockets of the living only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kloister import files
from kloister.errors import Malformed, Misconfigured

_SECRET_LIMIT = 64 * 1024  # bytes; fuses are a few keys, an author's key is one
_RECORD_LIMIT = 64 << 20  # bytes; manifest and first code of an enclave came in one frame of 16 MiB
_ATTACHED = "attached"  # records of containers, which outlive the daemon
_BACKLOG = 64  # connections that wait to be accepted


@dataclass(slots=True)
class Store:
    """The platform's directory, held open and locked. Make it with `Store.open`.

    Attributes:
        directory: descriptor of STATE/platform; all names are resolved from it, so that it may be left unreadable for
            others above it.
        path: the same as a path, for the runner, which binds the enclaves' sockets by name.
        owner: uid to whom the state belongs; it and root may use the control socket.
    """

    directory: int
    path: Path
    owner: int
    lock: int

    @classmethod
    def open(cls, path: Path) -> Store:
        """Make the directory private, take its lock, and clear what a killed daemon left.

        Raises:
            Misconfigured: `platform-running`, `platform-state`.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        except OSError as error:
            raise _unusable(path, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            os.close(directory)
            raise Misconfigured(
                "platform-running",
                f"Another platform daemon already serves {path}.",
                "Use it, stop it with `kloister down`, or choose another directory with --state DIR.",
            ) from None
        store = cls(directory, path, path.stat().st_uid, lock)
        store._clear()
        return store

    def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A stored secret; made, synced and renamed into place the first time, never overwritten.

        Raises:
            Malformed: `{name}-size`. Misconfigured: `platform-state`.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                return self._read(name)
            files.replace(self._here / name, make())
            return self._read(name)
        except OSError as error:
            raise _unusable(self.path, error) from None

    def document(self, name: str) -> bytes | None:
        """A document that its owner may change while the daemon runs; None where there is none.

        Raises:
            Malformed: `{name}-size`. Misconfigured: `platform-state`.
        """
        try:
            return self._read(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.path, error) from None

    def listen(self, name: str, mode: int) -> socket.socket:
        """A listening Unix socket at `name` (may lie in a subdirectory), with permissions `mode`.

        Raises:
            Misconfigured: `platform-state`.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # no moment at which others could connect
        try:
            # By way of the descriptor: a path may be longer than the 107 bytes that sun_path takes (unix(7)).
            listener.bind(str(self._here / name))
            os.chmod(name, mode, dir_fd=self.directory)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise _unusable(self.path, error) from None
        finally:
            os.umask(before)
        return listener

    def make_room(self, enclave: str) -> str:
        """A directory for an enclave's socket, private by those above it; its name relative to the store."""
        name = f"run/{enclave}"
        try:
            os.mkdir(name, 0o711, dir_fd=self.directory)
        except OSError as error:
            raise _unusable(self.path, error) from None
        return name

    def drop_room(self, enclave: str) -> None:
        """Remove what `make_room` and `listen` made; what is gone already is fine."""
        with contextlib.suppress(OSError):
            os.unlink(f"run/{enclave}/socket", dir_fd=self.directory)
        with contextlib.suppress(OSError):
            os.rmdir(f"run/{enclave}", dir_fd=self.directory)

    def remember(self, name: str, data: bytes) -> None:
        """Keep the record of an attached container. Raises OSError."""
        files.replace(self._here / _ATTACHED / name, data)

    def remembered(self, name: str) -> bytes | None:
        """That record; None where there is none that can be read."""
        try:
            with (self._here / _ATTACHED / name).open("rb") as file:
                return file.read(_RECORD_LIMIT)
        except OSError:
            return None

    def forget(self, name: str) -> None:
        """Remove it, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(f"{_ATTACHED}/{name}", dir_fd=self.directory)

    def attached(self) -> list[str]:
        """The names of all records. Raises `Misconfigured` `platform-state`."""
        with self._folder(_ATTACHED) as folder:
            return os.listdir(folder)  # noqa: PTH208 (names are wanted, not paths)

    def share_with(self, gid: int) -> None:
        """Let a group, the one of the user that the daemon becomes, make and remove sockets here.

        The owner stays: the runner enters as the owner, without powers over files of other users. Raises
        `Misconfigured` `platform-state`: that user, of an earlier daemon, put a link in a folder's place.
        """
        for name in (".", "run", _ATTACHED):
            with self._folder(name) as folder:
                os.fchown(folder, -1, gid)
                os.fchmod(folder, 0o770)

    def close(self) -> None:
        """Remove the sockets, release the lock."""
        self._clear()
        for name in ("run", _ATTACHED):  # what stands in the latter is for the next one
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=self.directory)
        os.close(self.lock)
        os.close(self.directory)

    @contextlib.contextmanager
    def _folder(self, name: str) -> Iterator[int]:
        """A descriptor of the folder itself, never of what a link names."""
        try:
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory)
        except OSError as error:
            raise _unusable(self.path / name, error) from None
        try:
            yield folder
        finally:
            os.close(folder)

    @property
    def _here(self) -> Path:
        """The directory by way of its descriptor: those above it may be closed to the user that the daemon became."""
        return Path(f"/proc/self/fd/{self.directory}")

    def _clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink("control.sock", dir_fd=self.directory)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree("run", dir_fd=self.directory)
        os.mkdir("run", 0o700, dir_fd=self.directory)
        with contextlib.suppress(FileExistsError):
            os.mkdir(_ATTACHED, 0o700, dir_fd=self.directory)

    def _read(self, name: str) -> bytes:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.directory), "rb") as file:
            data = file.read(_SECRET_LIMIT + 1)
        if not 0 < len(data) <= _SECRET_LIMIT:
            raise Malformed(
                f"{name}-size",
                f"{self.path / name} is damaged.",
                "Restore it from a copy, or begin with a new --state DIR.",
            )
        return data


def _unusable(path: Path, error: OSError) -> Misconfigured:
    return Misconfigured(
        "platform-state",
        f"The platform's directory {path} cannot be used: {error.strerror}.",
        "Give the user who runs it the rights and the space, or choose another directory with --state DIR.",
    )


def find_user(name: str) -> tuple[int, int] | None:
    """Uid and gid of a system user, or None where there is none of that name."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid
