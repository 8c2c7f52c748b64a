"""The merged root: what a container of the image would see, without anything extracted to the host's file system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

from kloister.errors import Malformed
from kloister.formats.enclave.tree import UNLISTED, Entry, Kind, Tree, quote

_CHUNK = 1 << 20
_LINKS = 40  # symbolic links followed in one look-up, as the kernel


@dataclass(slots=True, eq=False)
class Inode:
    """What one or more paths show: metadata, and for a regular file its place in the spool."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    sha256: bytes = b""
    target: bytes = b""
    offset: int = 0


@dataclass(slots=True)
class Node:
    """One path: its inode, and the index of the layer that it comes from."""

    inode: Inode
    layer: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was left out on purpose, for a person to know."""

    code: str
    path: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Located:
    """An entry, the index of the layer that it comes from, and its content's offset in the spool."""

    entry: Entry
    layer: int
    offset: int


Keep = Callable[[bytes, int], bool]  # (path, layer) -> whether it belongs to the part that is wanted


class MergedRoot:
    """All paths of the merged layers; contents lie one behind the other in an unnamed spool file.

    Attributes:
        notes: what was left out (devices, extended attributes).
    """

    def __init__(self, nodes: dict[bytes, Node], spool: BinaryIO, notes: tuple[Note, ...]) -> None:
        self._nodes = nodes
        self._spool = spool
        self.notes = notes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the spool: the contents are gone."""
        self._spool.close()

    def located(self, keep: Keep | None = None) -> tuple[Located, ...]:
        """Every listed entry of the root, or of the part of it that `keep` chooses, sorted by the path's bytes.

        The first path of several to one file is the file, the others are hard links to it; a part is grouped by itself.
        The paths that a tree never lists (architecture.md, section 3) are left out.
        """
        first: dict[int, bytes] = {}
        result = []
        for path in sorted(self._nodes):
            node = self._nodes[path]
            unlisted = path in UNLISTED and node.inode.kind is not Kind.DIRECTORY
            if unlisted or (keep is not None and not keep(path, node.layer)):
                continue
            result.append(_locate(path, node, first))
        return tuple(result)

    def tree(self, keep: Keep | None = None) -> Tree:
        """The tree of the root, or of the part of it that `keep` chooses."""
        return Tree(tuple(located.entry for located in self.located(keep)))

    def layer_of(self, path: bytes) -> int | None:
        """The index of the layer that gives the path; None when there is no such path."""
        node = self._nodes.get(path)
        return node.layer if node else None

    def lookup(self, path: bytes) -> Located | None:
        """What the path shows to a container, with symbolic links followed inside the root; None when nothing.

        The answer's path is the real one. Raises nothing: loops and dangling links are nothing.
        """
        todo, current, hops = path.split(b"/")[::-1], b"", 0
        while todo:
            part = todo.pop()
            if part == b"..":
                current = current.rpartition(b"/")[0]
            elif part not in (b"", b"."):
                node = self._nodes.get(current + b"/" + part)
                if node is None or (
                    node.inode.kind is not Kind.DIRECTORY and node.inode.kind is not Kind.SYMLINK and any(todo)
                ):
                    return None
                if node.inode.kind is not Kind.SYMLINK:
                    current += b"/" + part
                    continue
                hops += 1
                if hops > _LINKS:
                    return None
                current = b"" if node.inode.target.startswith(b"/") else current
                todo += node.inode.target.split(b"/")[::-1]
        real = current or b"/"
        return _locate(real, self._nodes[real], {})

    def read(self, path: bytes, limit: int) -> bytes | None:
        """The bytes of a regular file of at most `limit` bytes, links followed; None when there is no such file.

        Raises:
            Malformed: `image-file-size`.
        """
        found = self.lookup(path)
        if found is None or found.entry.kind is not Kind.FILE:
            return None
        if found.entry.size > limit:
            text = f"The image's {quote(path)} has {found.entry.size} bytes; at most {limit} are read."
            raise Malformed("image-file-size", text)
        return b"".join(self.content(found))

    def content(self, located: Located) -> Iterator[bytes]:
        """A regular file's bytes, in chunks of at most 1 MiB."""
        at, end = located.offset, located.offset + located.entry.size
        while at < end:
            chunk = os.pread(self._spool.fileno(), min(_CHUNK, end - at), at)
            at += len(chunk)
            yield chunk

    def write_contents(self, out: BinaryIO, located: tuple[Located, ...]) -> int:
        """Append the bytes of all regular files in their order to a file; returns their number.

        Neighbours in the spool are copied by the kernel in one go.
        """
        out.flush()
        total = 0
        for start, size in _runs(located):
            _copy(self._spool.fileno(), out.fileno(), start, size)
            total += size
        return total


def _locate(path: bytes, node: Node, first: dict[int, bytes]) -> Located:
    inode = node.inode
    common = (inode.mode, inode.uid, inode.gid, inode.mtime)
    if inode.kind is not Kind.FILE:
        return Located(Entry(path, inode.kind, *common, 0, b"", inode.target), node.layer, 0)
    leader = first.setdefault(id(inode), path)
    if leader != path:
        return Located(Entry(path, Kind.HARDLINK, *common, 0, b"", leader), node.layer, 0)
    return Located(Entry(path, Kind.FILE, *common, inode.size, inode.sha256), node.layer, inode.offset)


def _runs(located: tuple[Located, ...]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for item in located:
        if item.entry.kind is Kind.FILE and item.entry.size:
            if item.offset != start + size:
                if size:
                    yield start, size
                start, size = item.offset, 0
            size += item.entry.size
    if size:
        yield start, size


def _copy(source: int, destination: int, at: int, size: int) -> None:
    while size:
        done = os.sendfile(destination, source, at, min(size, 1 << 30))
        if done == 0:
            raise Malformed("image-spool", "The spool file of the image's contents was cut off while it was read.")
        at += done
        size -= done
