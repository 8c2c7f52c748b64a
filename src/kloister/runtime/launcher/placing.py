"""Writing below a root without ever following a link: released files and private entries both come this way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from kloister.errors import Denied, KloisterError, Unavailable

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNMAPPED = (errno.EINVAL, errno.EPERM)  # an owner who does not exist in this user namespace
_WRONG_KIND = (errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG)


class Root:
    """A directory below which things are placed.

    A symbolic link on the way, or something of another kind at the end, is `Denied` (`place-refused`), another file
    system on the way is `Denied` (`place-shared`): it is the host's; no room left is `Unavailable` (`memory-full`).
    """

    def __init__(self, path: str = "/") -> None:
        self._descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._device = os.fstat(self._descriptor).st_dev

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def file(self, path: bytes, content: bytes, mode: int, owner: tuple[int, int], mtime: int | None = None) -> None:
        """A new regular file, in place of a file or link that may be there; its bytes are never readable to others."""
        with self._parent(path) as (parent, name):
            _remove(parent, name)
            descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
            try:
                _write(descriptor, content)
                _own(descriptor, *owner)
                os.fchmod(descriptor, mode)
                if mtime is not None:
                    os.utime(descriptor, (mtime, mtime))
            finally:
                os.close(descriptor)

    def directory(self, path: bytes) -> None:
        """A directory, for the time being nobody else's; one that is there already stays as it is."""
        with self._parent(path) as (parent, name):
            if not _is_directory(parent, name):
                os.mkdir(name, 0o700, dir_fd=parent)

    def finish_directory(self, path: bytes, mode: int, owner: tuple[int, int], mtime: int) -> None:
        """Give a directory its properties, once nothing more is placed in it."""
        with self._parent(path) as (parent, name):
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._require_own(descriptor, path)
                _own(descriptor, *owner)
                os.fchmod(descriptor, mode)
                os.utime(descriptor, (mtime, mtime))
            finally:
                os.close(descriptor)

    def symlink(self, path: bytes, target: bytes, owner: tuple[int, int], mtime: int) -> None:
        """A symbolic link with this text; nobody follows it here."""
        with self._parent(path) as (parent, name):
            _remove(parent, name)
            os.symlink(target, name, dir_fd=parent)
            _own_link(parent, name, *owner)
            os.utime(name, (mtime, mtime), dir_fd=parent, follow_symlinks=False)

    def hardlink(self, path: bytes, target: bytes) -> None:
        """Another name of a regular file below the same root."""
        with self._parent(target) as (source, old), self._parent(path) as (parent, name):
            if not stat.S_ISREG(os.lstat(old, dir_fd=source).st_mode):
                raise Denied("place-refused", f"{_shown(target)} is no regular file to link to.")
            _remove(parent, name)
            os.link(old, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def exists(self, path: bytes) -> bool:
        """Whether anything, a dangling link included, has this name."""
        try:
            with self._parent(path, create=False) as (parent, name):
                os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return False
        return True

    def mtime(self, path: bytes) -> int:
        """Modification time of what is there, in nanoseconds."""
        with self._parent(path, create=False) as (parent, name):
            return os.lstat(name, dir_fd=parent).st_mtime_ns

    def set_mtime(self, path: bytes, nanoseconds: int) -> None:
        """Set the modification time of what is there."""
        with self._parent(path, create=False) as (parent, name):
            os.utime(name, ns=(nanoseconds, nanoseconds), dir_fd=parent, follow_symlinks=False)

    @contextmanager
    def _parent(self, path: bytes, *, create: bool = True) -> Iterator[tuple[int, bytes]]:
        *parts, name = path[1:].split(b"/") if path != b"/" else [b"."]
        descriptor = os.dup(self._descriptor)
        try:
            for part in parts:
                step = _enter(descriptor, part, create=create)
                os.close(descriptor)
                descriptor = step
                self._require_own(descriptor, path)
            yield descriptor, name
        except OSError as error:
            raise _explained(error, path) from None
        finally:
            os.close(descriptor)

    def _require_own(self, directory: int, path: bytes) -> None:
        """Refuse a named mount; the root is a file system of its own, of which nothing can be mounted again."""
        if os.fstat(directory).st_dev != self._device:
            raise Denied(
                "place-shared",
                f"{_shown(path)} cannot be placed: it lies in a mount, which the host can read.",
                "Name another place for the mount when converting, or run without that mount.",
            )


def _enter(parent: int, name: bytes, *, create: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def _is_directory(parent: int, name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode)
    except FileNotFoundError:
        return False


def _remove(parent: int, name: bytes) -> None:
    if _is_directory(parent, name):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _own(descriptor: int, uid: int, gid: int) -> None:
    try:
        os.fchown(descriptor, uid, gid)
    except OSError as error:
        if error.errno not in _UNMAPPED:  # where one user is all there is, everything is that user's
            raise


def _own_link(parent: int, name: bytes, uid: int, gid: int) -> None:
    try:
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNMAPPED:
            raise


def _explained(error: OSError, path: bytes) -> KloisterError | OSError:
    if isinstance(error, FileNotFoundError):
        return error
    if error.errno in {errno.ENOSPC, errno.ENOMEM, errno.EDQUOT}:
        return Unavailable(
            "memory-full", f"No private memory is left for {_shown(path)}.", "Convert the image with more --memory."
        )
    if error.errno in _WRONG_KIND:
        return Denied(
            "place-refused",
            f"{_shown(path)} cannot be placed: a link, or something of another kind, is in the way.",
            "Name the real path; links are not followed.",
        )
    return Unavailable("place-failed", f"{_shown(path)} cannot be placed: {error.strerror}.")


def _shown(path: bytes) -> str:
    return path[:200].decode("utf-8", "backslashreplace")
