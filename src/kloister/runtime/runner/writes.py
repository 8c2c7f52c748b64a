# ruff: noqa: PTH112, PTH115, PTH118, PTH119, PTH120 -- runs while a process waits; these functions are several times as fast
"""Names the writes that Landlock is about to refuse, with what would allow them. It decides nothing.

The seccomp filter holds calls that mean to write until `let_continue`; what is read here of the caller's memory may
change before the kernel reads it again. For a log that is good enough, for a decision it would not be.
"""

from __future__ import annotations

import errno
import os
import select
import struct
from collections.abc import Callable, Iterable

from kloister.runtime.linux import notifications, syscalls
from kloister.runtime.linux.notifications import Notification

_LISTED = 256  # different paths that are named; a program that tries thousands is not helped by more
_PATH_MAX = 4096
_AT_FDCWD = 0xFFFFFF9C  # -100 in the low half of a register
_LOW = 0xFFFFFFFF
_ACCESS = os.O_WRONLY | os.O_RDWR

# call -> for each of its paths: (register of the directory's descriptor or None, register of the path)
_PATHS: dict[int, tuple[tuple[int | None, int], ...]] = {
    syscalls.OPEN: ((None, 0),),
    syscalls.CREAT: ((None, 0),),
    syscalls.OPENAT: ((0, 1),),
    syscalls.OPENAT2: ((0, 1),),
    syscalls.TRUNCATE: ((None, 0),),
    syscalls.MKDIR: ((None, 0),),
    syscalls.MKDIRAT: ((0, 1),),
    syscalls.MKNOD: ((None, 0),),
    syscalls.MKNODAT: ((0, 1),),
    syscalls.SYMLINK: ((None, 1),),
    syscalls.SYMLINKAT: ((1, 2),),
    syscalls.RMDIR: ((None, 0),),
    syscalls.UNLINK: ((None, 0),),
    syscalls.UNLINKAT: ((0, 1),),
    syscalls.RENAME: ((None, 0), (None, 1)),
    syscalls.RENAMEAT: ((0, 1), (2, 3)),
    syscalls.RENAMEAT2: ((0, 1), (2, 3)),
    syscalls.LINK: ((None, 1),),
    syscalls.LINKAT: ((2, 3),),
}
_OPENS = {syscalls.OPEN, syscalls.OPENAT, syscalls.OPENAT2, syscalls.CREAT}
_MAKES = {
    syscalls.MKDIR, syscalls.MKDIRAT, syscalls.MKNOD, syscalls.MKNODAT, syscalls.SYMLINK, syscalls.SYMLINKAT,
    syscalls.LINK, syscalls.LINKAT,
}  # fmt: skip
_RENAMES = {syscalls.RENAME, syscalls.RENAMEAT, syscalls.RENAMEAT2}


class WriteLog:
    """Says each refused path once.

    Args:
        writable: places where writing is allowed.
        say: takes a line for the operator.
    """

    def __init__(self, writable: Iterable[str], say: Callable[[str], None]) -> None:
        self._writable = tuple(writable)
        self._say = say
        self._said: set[str] = set()

    def serve(self, listener: int) -> bool:
        """Look at one waiting call and let it continue; False when no process is left that could wait."""
        try:
            call = notifications.receive(listener)
        except OSError as error:
            if error.errno in {errno.EBADF, errno.ENODEV, errno.EINVAL}:
                return False
            raise
        if call is None:
            return not _is_hung_up(listener)
        try:
            paths = refused(call, self._writable)
            if notifications.still_waits(listener, call):
                self._name(paths)
        except (OSError, ValueError):
            pass  # the caller ended, or gave the kernel something it will refuse itself
        finally:
            notifications.let_continue(listener, call)
        return True

    def _name(self, paths: Iterable[str]) -> None:
        for path in paths:
            if path in self._said or len(self._said) > _LISTED:
                continue
            self._said.add(path)
            if len(self._said) > _LISTED:
                self._say(f"more than {_LISTED} different writes were refused; no more of them are listed")
            else:
                text = f"write to {path} refused: convert with --writable {_place(path)} to allow it"
                self._say(_printable(text))


def refused(call: Notification, writable: tuple[str, ...]) -> list[str]:
    """The paths of a call that Landlock will not let through, as far as can be told before it is carried out.

    Raises:
        OSError, ValueError: the caller's memory or descriptors cannot be read.
    """
    found = []
    for position, (directory, register) in enumerate(_PATHS.get(call.number, ())):
        path = _resolve(call, directory, register)
        if _is_write(call, path, position) and not _below(path, writable):
            found.append(path)
    return found


def _is_write(call: Notification, path: str, position: int) -> bool:
    """Whether the call gets as far as Landlock: other reasons, such as a missing file, come first."""
    exists = os.path.lexists(path)
    if not exists and not os.path.isdir(os.path.dirname(path)):
        return False
    if call.number in _OPENS:
        flags = _open_flags(call)
        writes = bool(flags & (_ACCESS | os.O_TRUNC))
        return writes if exists else bool(flags & os.O_CREAT)
    if call.number in _MAKES:
        return not exists
    if call.number in _RENAMES and position == 1:
        return True
    return exists


def _open_flags(call: Notification) -> int:
    if call.number == syscalls.CREAT:
        return os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    if call.number == syscalls.OPEN:
        return call.arguments[1]
    if call.number == syscalls.OPENAT:
        return call.arguments[2]
    flags: int = struct.unpack("<Q", _memory(call.pid, call.arguments[2], 8))[0]  # struct open_how: flags first
    return flags


def _resolve(call: Notification, directory: int | None, register: int) -> str:
    """The path that a register points to, absolute, with the symlinks that lead to it followed."""
    name = os.fsdecode(_memory(call.pid, call.arguments[register], _PATH_MAX).split(b"\0", 1)[0])
    if not name.startswith("/"):
        base = _AT_FDCWD if directory is None else call.arguments[directory] & _LOW
        link = f"/proc/{call.pid}/cwd" if base == _AT_FDCWD else f"/proc/{call.pid}/fd/{base}"
        name = f"{os.readlink(link)}/{name}"
    if call.number in _OPENS:
        return os.path.realpath(name)
    name = name.rstrip("/")
    return os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name)))


def _memory(pid: int, address: int, size: int) -> bytes:
    """Up to `size` bytes of another process; fewer where its mapping ends."""
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, size, address)
    finally:
        os.close(descriptor)


def _below(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _place(path: str) -> str:
    """What to declare: the directory that holds the path; at the top, the path itself."""
    parent = os.path.dirname(path)
    return path if parent == "/" else parent


def _printable(text: str) -> str:
    """The text with what is no text, or would move an operator's cursor, written as escapes."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _is_hung_up(listener: int) -> bool:
    poll = select.poll()
    poll.register(listener, 0)
    return any(happened & select.POLLHUP for _, happened in poll.poll(0))
