"""What the application gets as standard output and error: something that it can open again as `/dev/stdout`.

Images log to `/dev/stdout` and `/dev/stderr`. The kernel opens those by the owner and mode of what lies behind, and
the owner of a host's pipe, file or terminal is nobody inside the sandbox. A pipe without a name is opened to others,
which only processes that hold it can reach; everything else stays as it is, and a pipe (for a terminal: a
pseudo-terminal) is put before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import termios
import threading
import tty
from dataclasses import replace

from kloister.runtime.runner.sandbox import Descriptors

_CHUNK = 64 * 1024  # bytes of one read: a pipe's usual capacity
_PATIENCE = 15.0  # seconds that output may take when the sandbox has ended; a stopped terminal takes none
_READ, _WRITE = 0o444, 0o222


class Streams:
    """The streams of one sandbox; made before anything is forked.

    Attributes:
        inside: the descriptors to hand on, with streams that can be opened again.
    """

    def __init__(self, given: Descriptors) -> None:
        self._relays: dict[tuple[int, int], tuple[int, int]] = {}  # what lies behind: where to read, where to write
        self._replaced: list[int] = []
        self._threads: list[threading.Thread] = []
        self._writers: dict[tuple[int, int], int] = {}
        _open_to_others(given.stdin, _READ)
        self.inside = replace(given, stdout=self._output(given.stdout), stderr=self._output(given.stderr))

    def leave(self) -> None:
        """Close what only the process that copies may hold; for the processes that it forks."""
        for descriptor in (*self._replaced, *(source for source, _ in self._relays.values())):
            os.close(descriptor)

    def start(self) -> None:
        """Copy from now on."""
        for source, target in self._relays.values():
            self._threads.append(threading.Thread(target=_copy, args=(source, target), daemon=True))
            self._threads[-1].start()

    def finish(self) -> None:
        """Wait until everything that was written has arrived; every process inside has ended."""
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _output(self, given: int) -> int:
        about = os.fstat(given)
        if _is_null(about) or _open_to_others(given, _WRITE):
            return given
        self._replaced.append(given)
        behind = (about.st_dev, about.st_ino)
        if behind not in self._relays:  # one for both, as in `>log 2>&1`, keeps the order of what is written
            source, self._writers[behind] = _terminal(given) if os.isatty(given) else _pipe()
            self._relays[behind] = (source, given)
        return self._writers[behind]


def _is_null(about: os.stat_result) -> bool:
    """Whether it is a device that everybody may write to: /dev/null, /dev/full, not a terminal."""
    return stat.S_ISCHR(about.st_mode) and about.st_mode & _WRITE == _WRITE


def _open_to_others(descriptor: int, mode: int) -> bool:
    """Give others `mode` on an anonymous pipe; whether that could be done."""
    try:
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:["):  # noqa: PTH115 -- no path, a magic link
            return False
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | mode)
    except OSError:  # another user's
        return False
    return True


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    _open_to_others(writing, _WRITE)
    return reading, writing


def _terminal(like: int) -> tuple[int, int]:
    """A pseudo-terminal that changes nothing of what is written, of the size of `like`."""
    outer, inner = os.openpty()
    tty.setraw(inner)  # line ends are made by the terminal that it goes to
    with contextlib.suppress(OSError):
        fcntl.ioctl(inner, termios.TIOCSWINSZ, fcntl.ioctl(like, termios.TIOCGWINSZ, bytes(8)))
        os.fchmod(inner, 0o622)
    return outer, inner


def _copy(source: int, target: int) -> None:
    try:
        while data := os.read(source, _CHUNK):
            _write(target, data)
    except OSError:
        pass  # the last writer of a pseudo-terminal has gone; or nobody takes it any more, which the writer must learn
    finally:
        os.close(source)


def _write(target: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(target, rest) :]
        except BlockingIOError:
            select.select([], [target], [])
