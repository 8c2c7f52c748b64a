"""Merging of layers into one root (image-spec 1.1, layer.md); no name of a layer reaches the host's file system."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Self, cast

from kloister.errors import Malformed
from kloister.formats.enclave.tree import Kind, quote
from kloister.formats.oci.limits import DEFAULT, Limits
from kloister.formats.oci.tar import TarHeader, TarKind
from kloister.images.layers.merged import Inode, MergedRoot, Node, Note
from kloister.images.layers.names import HOSTILE, OPAQUE, is_reserved, normal_parts, whiteout_target
from kloister.images.layers.reading import ChunkSource, TarReader
from kloister.images.layers.stream import Budget
from kloister.images.staging import disk_errors

_SKIPPED = {
    TarKind.CHARACTER: "a character device",
    TarKind.BLOCK: "a block device",
    TarKind.FIFO: "a named pipe",
    TarKind.VOLUME_LABEL: "a volume label",
}
_MAX_ID = 2**32 - 2  # 2^32-1 means "unchanged" to the kernel
_MAX_TIME = 2**53 - 1
_XATTR = b"SCHILY.xattr."


class Merger:
    """Takes layers from the base upwards, then gives the merged root.

    Args:
        limits: what the layers may unpack to, all together.
        spool: directory of the unnamed spool file; the system's temporary directory by default.
    """

    def __init__(self, limits: Limits = DEFAULT, spool: Path | None = None) -> None:
        self._limits = limits
        self._budget = Budget(limits)
        self._root = _Root(limits)
        self._notes: list[Note] = []
        with disk_errors(spool or Path(tempfile.gettempdir())):
            file = tempfile.TemporaryFile(dir=spool, buffering=1 << 20)  # noqa: SIM115 - the merged root closes it
        self._spool = cast("BinaryIO", file)
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._spool.close()

    def add(self, chunks: Iterable[bytes], layer: int) -> None:
        """Put one layer on top.

        Args:
            chunks: its plain tar; they are read to the end, so that checks on the way are made.
            layer: its index, to which paths are attributed; it must grow from call to call.

        Raises:
            Malformed: `layer-*`, with the entry's name.
            Misconfigured: `disk-full`.
        """
        source = ChunkSource(self._counted(chunks))
        reader = TarReader(source, self._limits)
        with disk_errors(Path(tempfile.gettempdir())):
            for header in reader:
                self._budget.spend_entry()
                self._entry(header, reader, layer)
            source.drain()

    def finish(self) -> MergedRoot:
        """The merged root, which owns the spool from now on."""
        with disk_errors(Path(tempfile.gettempdir())):
            self._spool.flush()
        return MergedRoot(self._root.nodes, self._spool, tuple(self._notes))

    def _counted(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        for chunk in chunks:
            self._budget.spend(len(chunk))
            yield chunk

    def _entry(self, header: TarHeader, reader: TarReader, layer: int) -> None:
        parts = normal_parts(header.name, self._limits)
        if is_reserved(parts):
            return
        if parts and parts[-1] == OPAQUE:
            self._root.make_opaque(parts[:-1], layer, header.name)
            return
        removed = whiteout_target(parts, header.name)
        if removed is not None:
            self._root.remove_below([*parts[:-1], removed], layer, header.name)
            return
        if header.kind in _SKIPPED:
            self._note("entry-skipped", parts, f"{_SKIPPED[header.kind]} was left out")
            self._root.take_away(parts, layer, header.name)
            return
        if any(key.startswith(_XATTR) for key in reader.records):
            self._note("attributes-dropped", parts, "its extended attributes were left out")
        if header.kind is TarKind.HARDLINK:
            self._root.link(
                parts, normal_parts(header.target.lstrip(b"/"), self._limits, header.name), layer, header.name
            )
        else:
            self._root.put(parts, self._inode(header, reader), layer, header.name)

    def _note(self, code: str, parts: list[bytes], text: str) -> None:
        self._notes.append(Note(code, b"/" + b"/".join(parts), text))

    def _inode(self, header: TarHeader, reader: TarReader) -> Inode:
        if header.uid > _MAX_ID or header.gid > _MAX_ID or header.mtime > _MAX_TIME:
            raise Malformed("layer-header", f"The entry {quote(header.name)} has an owner or time out of range.")
        common = (header.mode, header.uid, header.gid, max(header.mtime, 0))
        if header.kind is TarKind.DIRECTORY:
            return Inode(Kind.DIRECTORY, *common)
        if header.kind is TarKind.SYMLINK:
            if not header.target or len(header.target) > self._limits.path:
                raise Malformed(
                    "layer-link", f"The symbolic link {quote(header.name)} has no target that it could have."
                )
            return Inode(Kind.SYMLINK, 0o777, *common[1:], target=header.target)
        digest, offset = hashlib.sha256(), self._end
        for chunk in reader.content():
            digest.update(chunk)
            self._spool.write(chunk)
        self._end += header.size
        return Inode(Kind.FILE, *common, size=header.size, sha256=digest.digest(), offset=offset)


class _Root:
    """The tree of paths while layers are put on it. Keys are real paths: all their parents are directories."""

    def __init__(self, limits: Limits) -> None:
        self.nodes: dict[bytes, Node] = {b"/": Node(Inode(Kind.DIRECTORY, 0o755, 0, 0, 0), 0)}
        self._children: dict[bytes, set[bytes]] = {b"": set()}  # directory ("" is the root) -> names in it
        self._limits = limits

    def put(self, parts: list[bytes], inode: Inode, layer: int, name: bytes) -> None:
        """An entry of a layer takes its place; a directory over a directory only changes its metadata."""
        if not parts:
            if inode.kind is not Kind.DIRECTORY:
                raise Malformed(
                    "layer-root", f"The entry {quote(name)} replaces the root by what is no directory.", HOSTILE
                )
            self.nodes[b"/"] = Node(inode, layer)
            return
        parent = self._parent(parts, layer, name)
        path = parent + b"/" + parts[-1]
        old = self.nodes.get(path)
        if old is not None and not (old.inode.kind is inode.kind is Kind.DIRECTORY):
            self._remove(path)
        self.nodes[path] = Node(inode, layer)
        self._children[parent].add(parts[-1])
        if inode.kind is Kind.DIRECTORY:
            self._children.setdefault(path, set())

    def link(self, parts: list[bytes], target: list[bytes], layer: int, name: bytes) -> None:
        """Another path to a file that is already there, in this layer or below."""
        found = self._find(target, name)
        node = self.nodes.get(found) if found else None
        if node is None or node.inode.kind is Kind.DIRECTORY:
            text = f"The hard link {quote(name)} names {quote(b'/'.join(target))}, which is no file of the image."
            raise Malformed("layer-link-missing", text, "The layer or one below it is missing something.")
        if found != self._find(parts, name):
            self.put(parts, node.inode, layer, name)

    def take_away(self, parts: list[bytes], layer: int, name: bytes) -> None:
        """Something that is left out still replaces what was at its path."""
        path = self._find(parts, name)
        if path and path in self.nodes:
            self._remove(self._parent(parts, layer, name) + b"/" + parts[-1])

    def remove_below(self, parts: list[bytes], layer: int, name: bytes) -> None:
        """A whiteout: what lower layers have at the path goes, what this layer has stays."""
        path = self._find(parts, name)
        if path and path in self.nodes:
            self._remove_lower(path, layer)

    def make_opaque(self, parts: list[bytes], layer: int, name: bytes) -> None:
        """An opaque directory: all that lower layers have in it goes."""
        path = self._follow(parts, name)
        if path is None:
            return
        for child in tuple(self._children.get(path, ())):
            self._remove_lower(path + b"/" + child, layer)

    def _find(self, parts: list[bytes], name: bytes) -> bytes | None:
        """The real path of an entry, whose own last part is not followed; None when its parent is missing."""
        parent = self._follow(parts[:-1], name)
        return None if parent is None or not parts else parent + b"/" + parts[-1]

    def _parent(self, parts: list[bytes], layer: int, name: bytes) -> bytes:
        """The real path of an entry's parent, made where it is missing."""
        joined = b"".join(b"/" + part for part in parts[:-1])
        if joined in self._children:
            return joined
        parent = self._follow(parts[:-1], name, layer)
        if parent is None or len(parent) + len(parts[-1]) >= self._limits.path:
            raise Malformed("layer-path-long", f"The entry {quote(name)} lies deeper than a path may be long.")
        return parent

    def _follow(self, parts: list[bytes], name: bytes, make: int | None = None) -> bytes | None:
        """The real path of a directory, symbolic links followed; with `make`, missing ones are made for that layer.

        Raises:
            Malformed: `layer-symlink-escape`, `layer-symlink-loop`, `layer-parent`.
        """
        joined = b"".join(b"/" + part for part in parts)
        if joined in self._children:
            return joined
        current, todo, hops = b"", parts[::-1], 0
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                current = self._up(current, name)
                continue
            path = current + b"/" + part
            node = self.nodes.get(path)
            if node is None:
                if make is None:
                    return None
                self._make(current, part, make, name)
                current = path
            elif node.inode.kind is Kind.SYMLINK:
                hops += 1
                if hops > self._limits.links:
                    raise Malformed(
                        "layer-symlink-loop", f"The entry {quote(name)} lies behind a loop of links.", HOSTILE
                    )
                current = b"" if node.inode.target.startswith(b"/") else current
                todo += node.inode.target.split(b"/")[::-1]
            elif node.inode.kind is Kind.DIRECTORY:
                current = path
            else:
                raise Malformed("layer-parent", f"The entry {quote(name)} lies below {quote(path)}, which is a file.")
        return current

    @staticmethod
    def _up(current: bytes, name: bytes) -> bytes:
        if not current:
            text = f"The entry {quote(name)} lies behind a symbolic link that leaves the image's root."
            raise Malformed("layer-symlink-escape", text, HOSTILE)
        return current.rpartition(b"/")[0]

    def _make(self, parent: bytes, part: bytes, layer: int, name: bytes) -> None:
        path = parent + b"/" + part
        if len(path) > self._limits.path:
            raise Malformed("layer-path-long", f"The entry {quote(name)} lies deeper than a path may be long.")
        self.nodes[path] = Node(Inode(Kind.DIRECTORY, 0o755, 0, 0, 0), layer)
        self._children[parent].add(part)
        self._children[path] = set()

    def _remove(self, path: bytes) -> None:
        todo = [path]
        while todo:
            item = todo.pop()
            del self.nodes[item]
            todo += [item + b"/" + child for child in self._children.pop(item, ())]
        parent, _, last = path.rpartition(b"/")
        self._children[parent].discard(last)

    def _remove_lower(self, path: bytes, layer: int) -> None:
        """Remove what is from below `layer`; directories stay while something of `layer` is in them."""
        order, todo = [], [path]
        while todo:
            item = todo.pop()
            order.append(item)
            todo += [item + b"/" + child for child in self._children.get(item, ())]
        for item in reversed(order):
            if self.nodes[item].layer < layer and not self._children.get(item):
                self._remove(item)
