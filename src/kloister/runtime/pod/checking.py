# ruff: noqa: PTH115, PTH208 -- paths are bytes here, which pathlib does not know
"""Compares the container's root with the measured tree, before anything of it is used.

The bytes stay where the container runtime put them: what the node's root changes after this check is not seen.
What this user may not read, no process of the container may: there are no privileges, and none can be gained.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import file_digest

from kloister.errors import Denied, Unavailable
from kloister.formats.enclave.tree import UNLISTED, Difference, Entry, Kind, Tree, differences, quote
from kloister.runtime.pod.mounts import Mount

_OWN = (b"/proc", b"/sys", b"/dev")  # the container runtime's; what the image has there is hidden
_MARK = b"/.dockerenv"  # an empty file that Docker adds
_LISTED = 10  # differences that a refusal names
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def require_tree(measured: Tree, mounts: Iterable[Mount], root: bytes = b"") -> None:
    """Refuse a root that is not the measured one: kind, mode, owner, size, SHA-256, link targets, and nothing more.

    Times are not compared: container runtimes make mount points, which changes those of directories.

    Args:
        measured: the whole tree.
        mounts: what is mounted at or below these is not of the image.
        root: where the root stands; for tests.

    Raises:
        Denied: the code of the first difference, listing up to ten; `file-unreadable`.
        Unavailable: `tree-unreadable`.
    """
    walk = _Walk({entry.path: entry for entry in measured.entries}, mounts, root)
    try:
        observed = Tree.of(walk.entries())
    except OSError as error:
        text = f"The container's files cannot be read: {error.strerror} at {error.filename!a}."
        raise Unavailable("tree-unreadable", text, "Start the container again.") from None
    found = sorted([*walk.found, *differences(Tree(tuple(walk.expected())), observed)], key=lambda item: item.path)
    if found:
        listed = "; ".join(str(difference) for difference in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        text = f"The container's files are not what was measured: {listed}{more}."
        raise Denied(found[0].code, text, "Pull the image again; if you changed it, convert it again.")


class _Walk:
    """One walk over the root; `found` are differences that have no entry."""

    def __init__(self, measured: Mapping[bytes, Entry], mounts: Iterable[Mount], root: bytes) -> None:
        self.found: list[Difference] = []
        self._measured = measured
        self._root = root
        self._hidden = {os.fsencode(mount.point) for mount in mounts if mount.point != "/"} | set(_OWN)
        self._closed: set[bytes] = set()
        self._ways = {parent for point in self._hidden for parent in _parents(point)}
        self._hashed: dict[tuple[int, int], bytes] = {}

    def entries(self) -> Iterator[Entry]:
        """What is there, below `/`."""
        waiting = [b"/"]
        while waiting:
            path = waiting.pop()
            status = os.lstat(self._root + path)
            if stat.S_ISDIR(status.st_mode):
                waiting += self._children(path, status)
            entry = self._entry(path, status)
            if entry is not None:
                yield entry

    def expected(self) -> Iterator[Entry]:
        """What of the measured tree is in sight."""
        covers = self._hidden | self._closed
        for path, entry in self._measured.items():
            if path not in self._hidden and covers.isdisjoint(_parents(path)):
                yield entry

    def _children(self, path: bytes, status: os.stat_result) -> list[bytes]:
        if not os.access(self._root + path, os.X_OK):
            if _is_ours(status):
                raise _unreadable(path)
            self._closed.add(path)  # nobody in this container reaches what is in it
            return []
        try:
            names = os.listdir(self._root + path)
        except PermissionError:
            raise _unreadable(path) from None
        prefix = path.rstrip(b"/") + b"/"
        found = (prefix + name for name in names)
        return [child for child in found if child not in self._hidden and child not in UNLISTED]

    def _entry(self, path: bytes, status: os.stat_result) -> Entry | None:
        expected = self._measured.get(path)
        mode, mtime = stat.S_IMODE(status.st_mode), expected.mtime if expected else int(status.st_mtime)
        entry = Entry(path, Kind.DIRECTORY, mode, status.st_uid, status.st_gid, mtime)
        if stat.S_ISDIR(status.st_mode):
            return entry if expected is not None or path not in self._ways else None
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(self._root + path)
            return replace(entry, kind=Kind.SYMLINK, mode=expected.mode if expected else mode, target=target)
        if path == _MARK and expected is None and stat.S_ISREG(status.st_mode) and not status.st_size:
            return None
        if stat.S_ISREG(status.st_mode):
            return self._file(entry, status, expected)
        code, words = ("file-kind", _words(expected)) if expected else ("file-added", "")
        self.found.append(Difference(code, path, words, "something that is no file, directory or link"))
        return None

    def _file(self, entry: Entry, status: os.stat_result, expected: Entry | None) -> Entry:
        original = expected
        if expected is not None and expected.kind is Kind.HARDLINK:
            original = self._measured.get(expected.target)
        digest = self._digest(entry.path, status, original)
        if expected is not original and original is not None and digest == original.sha256:
            return replace(entry, kind=Kind.HARDLINK, target=expected.target if expected else b"")
        return replace(entry, kind=Kind.FILE, size=status.st_size, sha256=digest)

    def _digest(self, path: bytes, status: os.stat_result, expected: Entry | None) -> bytes:
        if expected is None or status.st_size != expected.size:
            return bytes(32)  # a difference already, whatever it holds
        node = (status.st_dev, status.st_ino)
        if node not in self._hashed:
            try:
                with os.fdopen(os.open(self._root + path, _OPEN), "rb", 0) as file:
                    self._hashed[node] = file_digest(file, "sha256").digest()
            except PermissionError:
                if _is_ours(status) or os.access(self._root + path, os.X_OK):
                    raise _unreadable(path) from None
                return expected.sha256  # of no use to anybody in this container
        return self._hashed[node]


def _is_ours(status: os.stat_result) -> bool:
    """Whether this user may give itself the permission that it lacks."""
    return status.st_uid == os.geteuid()


def _unreadable(path: bytes) -> Denied:
    return Denied(
        "file-unreadable",
        f"{quote(path)} may be used by this user but not read, so nobody can say whether it was changed.",
        "Give it read permission in the image (or take the permission to execute or search away).",
    )


def _parents(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:end]) for end in range(2, len(parts))]


def _words(entry: Entry) -> str:
    return f"kind {entry.kind.value}"
