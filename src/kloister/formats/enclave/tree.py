"""The tree document: path, type, mode, owner, time, link target and content hash of every file of a root.

It is text, one line per path (docs/architecture.md, section 3), so that a person can `diff` two of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from kloister.errors import Malformed

HEADER = b"kloister-tree/1\n"
MAX_DOCUMENT = 128 << 20  # bytes: 400,000 entries of 320 bytes, the limit of an image's entries
MAX_PATH = 4096  # bytes, as the kernel's PATH_MAX
HOST_FILES = frozenset({b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf"})  # the host's own: no line
ENCLAVE = b"/.kloister/enclave/"
UNLISTED = HOST_FILES | {ENCLAVE + name for name in (b"manifest.sgx", b"sigstruct", b"tree", b"launch.json")}


class Kind(StrEnum):
    """The letter that a line begins with."""

    FILE = "f"
    DIRECTORY = "d"
    SYMLINK = "l"
    HARDLINK = "h"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a path and what must be found there.

    Attributes:
        path: absolute, raw bytes, normal (`/`, `/etc/passwd`).
        mode: permission bits with setuid, setgid and sticky, 0..0o7777.
        mtime: whole seconds since 1970, never negative.
        size: bytes of a regular file, else 0.
        sha256: 32 bytes of a regular file, else empty.
        target: of a symlink as stored; of a hard link the absolute path of the regular file it shares.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    sha256: bytes = b""
    target: bytes = b""

    def line(self) -> bytes:
        """The entry as its line of the document, without the line feed."""
        regular = self.kind is Kind.FILE
        size, digest = (str(self.size), self.sha256.hex()) if regular else ("-", "-")
        owner = f"{self.uid} {self.gid} {self.mtime}"
        text = f"{self.kind.value} {self.mode:04o} {owner} {size} {digest} {quote(self.path)}"
        return (text + (f" {quote(self.target)}" if self.target else "")).encode("ascii")


@dataclass(frozen=True, slots=True)
class Tree:
    """All entries, sorted by the bytes of their paths."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """A tree of entries in any order."""
        return cls(tuple(sorted(entries, key=lambda entry: entry.path)))

    @classmethod
    def parse(cls, data: bytes, *, whole: bool = True) -> Self:
        """Read a tree document.

        Args:
            data: the document's bytes.
            whole: also require that parents are directories of the tree, and hard links name a file of it; the tree of
                the private entries is only a part of a root and is read with `whole=False`.

        Raises:
            Malformed: `tree-size`, `tree-header`, `tree-line`, `tree-path`, `tree-order`, `tree-parent`, `tree-link`.
        """
        if len(data) > MAX_DOCUMENT:
            raise Malformed("tree-size", f"The tree document has {len(data)} bytes; at most {MAX_DOCUMENT} are read.")
        if not data.startswith(HEADER) or not data.endswith(b"\n"):
            raise Malformed(
                "tree-header", "The tree document does not start with kloister-tree/1, or its end is cut off."
            )
        tree = cls(tuple(_entries(data)))
        if whole:
            tree.require_whole()
        return tree

    def build(self) -> bytes:
        """The document's bytes."""
        return HEADER + b"".join(entry.line() + b"\n" for entry in self.entries)

    def require_whole(self) -> None:
        """Refuse a tree that could not be a file system: missing parents, or hard links to nothing.

        Raises:
            Malformed: `tree-parent`, `tree-link`.
        """
        directories, regular = {b""}, set()
        for entry in self.entries:
            if entry.path != b"/" and entry.path.rpartition(b"/")[0] not in directories:
                raise Malformed("tree-parent", f"The tree has no directory that holds {quote(entry.path)}.")
            if entry.kind is Kind.DIRECTORY:
                directories.add(entry.path)
            elif entry.kind is Kind.FILE:
                regular.add(entry.path)
            elif entry.kind is Kind.HARDLINK and entry.target not in regular:
                raise Malformed("tree-link", f"{quote(entry.path)} is a hard link to no file that comes before it.")

    def get(self, path: bytes) -> Entry | None:
        """The entry of `path`, or None; linear, for single look-ups."""
        return next((entry for entry in self.entries if entry.path == path), None)


@dataclass(frozen=True, slots=True)
class Difference:
    """What was found at a path instead of what was measured; both sides in words, empty where there is nothing."""

    code: str
    path: bytes
    expected: str
    seen: str

    def __str__(self) -> str:
        expected, seen = self.expected or "nothing", self.seen or "nothing"
        return f"{quote(self.path)}: expected {expected}, found {seen} [{self.code}]"


def differences(measured: Tree, observed: Tree) -> list[Difference]:
    """Every way in which `observed` departs from `measured`, sorted by path; empty when they are the same."""
    if measured.entries == observed.entries:
        return []
    left = {entry.path: entry for entry in measured.entries}
    right = {entry.path: entry for entry in observed.entries}
    found: list[Difference] = []
    for path in sorted(left.keys() | right.keys()):
        expected, seen = left.get(path), right.get(path)
        if expected is not None and seen is not None:
            found += _compare(expected, seen) if expected != seen else ()
        elif seen is not None:
            found.append(Difference("file-added", path, "", _words(seen)))
        elif expected is not None:
            found.append(Difference("file-removed", path, _words(expected), ""))
    return found


def _compare(expected: Entry, seen: Entry) -> Iterator[Difference]:
    path = expected.path
    if expected.kind is not seen.kind:
        yield Difference("file-kind", path, _words(expected), _words(seen))
        return
    if (expected.size, expected.sha256) != (seen.size, seen.sha256):
        yield Difference("file-changed", path, _words(expected), _words(seen))
    if expected.target != seen.target:
        yield Difference("link-changed", path, quote(expected.target), quote(seen.target))
    if expected.mode != seen.mode:
        yield Difference("file-mode", path, f"{expected.mode:04o}", f"{seen.mode:04o}")
    if (expected.uid, expected.gid) != (seen.uid, seen.gid):
        yield Difference("file-owner", path, f"{expected.uid}:{expected.gid}", f"{seen.uid}:{seen.gid}")
    if expected.mtime != seen.mtime:
        yield Difference("file-time", path, str(expected.mtime), str(seen.mtime))


def _words(entry: Entry) -> str:
    if entry.kind is Kind.FILE:
        return f"file of {entry.size} bytes, sha256 {entry.sha256.hex()}"
    names = {Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink to ", Kind.HARDLINK: "hard link to "}
    return names[entry.kind] + quote(entry.target)


_UNSAFE = re.compile(rb"[^!-$&-~]")
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")
_NUMBER = rb"(0|[1-9][0-9]{0,17})"
_LINE = re.compile(
    rb"([fdlh]) ([0-7]{4}) " + _NUMBER + b" " + _NUMBER + b" " + _NUMBER
    + rb" (?:" + _NUMBER + rb" ([0-9a-f]{64})|- -) (/[!-~]*)(?: ([!-~]+))?"
)  # fmt: skip
_KINDS = {kind.value.encode("ascii"): kind for kind in Kind}
_ODD = re.compile(rb"//|/\.{1,2}(?:/|\Z)|/\Z|\0")


def quote(raw: bytes) -> str:
    """A path as the document writes it: bytes outside `!`..`~` and `%` become `%XX`."""
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], raw).decode("ascii")


def unquote(text: bytes) -> bytes:
    """The reverse of `quote`; anything that `quote` would not have written is refused.

    Raises:
        Malformed: `tree-path`.
    """
    if b"%" not in text:
        return text
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text)
    if quote(raw).encode("ascii") != text:
        raise Malformed(
            "tree-path", f"The path {text.decode('ascii', 'replace')} is not written in the one allowed way."
        )
    return raw


def require_path(path: bytes) -> bytes:
    """The path, if it is absolute and normal: no empty, `.` or `..` parts, no NUL, at most 4096 bytes.

    Raises:
        Malformed: `tree-path`.
    """
    if path != b"/" and (not path.startswith(b"/") or _ODD.search(path) or len(path) > MAX_PATH):
        raise Malformed("tree-path", f"The path {quote(path[:MAX_PATH])} is not absolute and normal.")
    return path


def _entries(data: bytes) -> Iterator[Entry]:
    previous = b""
    lines = data.split(b"\n")
    for number, line in enumerate(lines[1:-1], 2):
        match = _LINE.fullmatch(line)
        if match is None:
            raise Malformed("tree-line", f"Line {number} of the tree document does not follow the format.")
        entry = _entry(match, number)
        if entry.path <= previous:
            raise Malformed("tree-order", f"Line {number} of the tree document is not in the order of the paths.")
        previous = entry.path
        yield entry


def _entry(match: re.Match[bytes], number: int) -> Entry:
    letter, mode, uid, gid, mtime, size, digest, name, link = match.groups()
    path = require_path(unquote(name))
    kind = _KINDS[letter]
    if (kind is Kind.FILE) != (size is not None) or (kind in _LINKS) != (link is not None):
        raise Malformed(
            "tree-line", f"Line {number} of the tree document lacks or has fields that its kind does not have."
        )
    target = unquote(link) if link is not None else b""
    if kind is Kind.HARDLINK:
        require_path(target)
    elif len(target) > MAX_PATH or b"\0" in target:
        raise Malformed("tree-path", f"The link target in line {number} of the tree document is too long.")
    content = bytes.fromhex(digest.decode("ascii")) if digest else b""
    return Entry(path, kind, int(mode, 8), int(uid), int(gid), int(mtime), int(size or 0), content, target)


_LINKS = frozenset({Kind.SYMLINK, Kind.HARDLINK})
