"""The entries of a directory, without following a symbolic link out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kloister.errors import Misconfigured
from kloister.formats.oci.tar import TarHeader, TarKind
from kloister.images.importer.options import ImportOptions
from kloister.images.layers.merged import Note
from kloister.images.layers.stream import Budget

_CHUNK = 1 << 20
_SPECIAL = {
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True, slots=True)
class Found:
    """One entry to write: its header, and the file that its content is read from (inode as found)."""

    header: TarHeader
    place: bytes = b""
    inode: tuple[int, int] = (0, 0)

    def content(self) -> Iterable[bytes]:
        """The file's bytes; it must still be the file that was found.

        Raises:
            Misconfigured: `import-unreadable`, `import-changed`.
        """
        return _read(self) if self.header.kind is TarKind.FILE and self.header.size else ()


def walk(root: Path, options: ImportOptions) -> tuple[list[Found], list[Note]]:
    """Every entry below `root`, sorted by path, and what was left out.

    Raises:
        Misconfigured: `import-unreadable`.
        Malformed: `layer-bomb`.
    """
    found: list[Found] = []
    notes: list[Note] = []
    seen: dict[tuple[int, int], bytes] = {}
    budget = Budget(options.limits)
    base = os.fsencode(root)
    for path, status in _paths(root, base, options):
        if (special := _SPECIAL.get(stat.S_IFMT(status.st_mode))) is not None:
            notes.append(Note("entry-skipped", b"/" + path, f"{special} was left out"))
            continue
        item = _found(base, path, status, seen)
        budget.spend_entry()
        budget.spend(item.header.size)
        found.append(Found(options.apply(item.header), item.place, item.inode))
    return found, notes


def _paths(root: Path, base: bytes, options: ImportOptions) -> Iterator[tuple[bytes, os.stat_result]]:
    entries: list[tuple[bytes, os.stat_result]] = []
    try:
        entries.append((b"", root.stat()))
        todo = [b""]
        while todo:
            directory = todo.pop()
            with os.scandir(os.path.join(base, directory)) as scan:  # noqa: PTH118 - names are bytes, which pathlib does not take
                for item in scan:
                    path = os.path.join(directory, item.name)  # noqa: PTH118 - as above
                    if options.excludes(b"/" + path):
                        continue
                    status = item.stat(follow_symlinks=False)
                    entries.append((path, status))
                    if stat.S_ISDIR(status.st_mode):
                        todo.append(path)
    except OSError as error:
        raise _unreadable(error) from None
    return iter(sorted(entries, key=lambda entry: b"/" + entry[0]))


def _found(base: bytes, path: bytes, status: os.stat_result, seen: dict[tuple[int, int], bytes]) -> Found:
    place, inode = os.path.join(base, path), (status.st_dev, status.st_ino)  # noqa: PTH118 - as above
    common = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    mtime = int(status.st_mtime_ns // 10**9)
    if stat.S_ISDIR(status.st_mode):
        return Found(TarHeader((path or b".") + b"/", TarKind.DIRECTORY, *common, 0, mtime))
    if stat.S_ISLNK(status.st_mode):
        try:
            target = os.fsencode(Path(os.fsdecode(place)).readlink())
        except OSError as error:
            raise _unreadable(error) from None
        return Found(TarHeader(path, TarKind.SYMLINK, 0o777, *common[1:], 0, mtime, target))
    leader = seen.setdefault(inode, path) if status.st_nlink > 1 else path
    if leader != path:
        return Found(TarHeader(path, TarKind.HARDLINK, *common, 0, mtime, leader))
    return Found(TarHeader(path, TarKind.FILE, *common, status.st_size, mtime), place, inode)


def _read(found: Found) -> Iterator[bytes]:
    left = found.header.size
    try:
        descriptor = os.open(found.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - opened by descriptor, so that no link is followed
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != found.inode or status.st_size != left:
                raise _changed(found.place)
            while left:
                chunk = file.read(min(left, _CHUNK))
                if not chunk:
                    raise _changed(found.place)
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> Misconfigured:
    name = os.fsdecode(error.filename or b"")
    text = f"{name} cannot be read: {error.strerror or error}."
    return Misconfigured("import-unreadable", text, "Check its permissions, or leave it out with --exclude.")


def _changed(place: bytes) -> Misconfigured:
    text = f"{os.fsdecode(place)} changed while it was read."
    return Misconfigured("import-changed", text, "Import a directory that nobody writes to.")
