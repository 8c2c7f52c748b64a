"""Copies the bytes of files from the pack into private memory, and keeps only what has the measured hash.

Every byte is read once, into a buffer of this process; that buffer is hashed and that buffer is written. What the
host does to the pack meanwhile cannot come between the two.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from kloister.errors import Denied, Malformed
from kloister.formats.enclave.tree import Entry, quote

_BUFFER = 1 << 20  # bytes read at once: stays in the processor's cache between reading, hashing and writing
_SPECIAL = 0o7000  # setuid, setgid, sticky: lost when the owner changes
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NANO = 10**9


@dataclass(frozen=True, slots=True)
class File:
    """One regular file to be made: where its bytes begin in `contents`, and whether it is kept at all."""

    entry: Entry
    offset: int
    kept: bool


class _Window:
    """A view of `contents` through one private buffer that moves forwards."""

    def __init__(self, descriptor: int, end: int) -> None:
        self._descriptor = descriptor
        self._end = end
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._stop = 0

    def take(self, offset: int, size: int) -> memoryview:
        """`size` bytes (at most the buffer) at `offset`; the view holds until the next call."""
        if not (self._start <= offset and offset + size <= self._stop):
            self._fill(offset)
        begin = offset - self._start
        return self._view[begin : begin + size]

    def _fill(self, offset: int) -> None:
        wanted, held = min(_BUFFER, self._end - offset), 0
        while held < wanted:
            count = os.preadv(self._descriptor, [self._view[held:wanted]], offset + held)
            if count == 0:
                raise Malformed("contents-size", "The pack's contents end too early.")
            held += count
        self._start, self._stop = offset, offset + held


def copy(descriptor: int, files: Sequence[File], *, owners: bool) -> None:
    """Make `files` (in the order of their offsets) below the root directory, each with its measured content.

    Args:
        descriptor: of the pack's contents.
        files: some of the tree's regular files.
        owners: set owner and group; without, everything belongs to the one user there is.

    Raises:
        Denied: `file-changed` with the path.
        Malformed: `contents-size`.
        OSError: memory is full, or a path cannot be made.
    """
    if not files:
        return
    window = _Window(descriptor, files[-1].offset + files[-1].entry.size)
    for file in files:
        if not file.kept:
            continue
        entry = file.entry
        target = os.open(entry.path, _CREATE, entry.mode)
        try:
            _content(window, target, file)
            if owners and (entry.uid or entry.gid):
                os.fchown(target, entry.uid, entry.gid)
            if entry.mode & _SPECIAL:
                os.fchmod(target, entry.mode)
            os.utime(target, ns=(entry.mtime * _NANO, entry.mtime * _NANO))
        finally:
            os.close(target)


def _content(window: _Window, target: int, file: File) -> None:
    size, hashed, done = file.entry.size, sha256(), 0
    while done < size:
        piece = window.take(file.offset + done, min(_BUFFER, size - done))
        hashed.update(piece)
        _write(target, piece)
        done += len(piece)
    if hashed.digest() != file.entry.sha256:
        raise Denied(
            "file-changed",
            f"The content of {quote(file.entry.path)} is not what was measured.",
            "The pack is only a cache: delete it, and it is made again from the image.",
        )


def _write(target: int, piece: memoryview) -> None:
    done = os.write(target, piece)
    while done < len(piece):
        done += os.write(target, piece[done:])
