"""The first code of an enclave, taken from the pack; no trust needed: its pages are measured as they are."""

from __future__ import annotations

import fcntl
import os

from kloister.errors import Malformed, Misconfigured
from kloister.formats.enclave.tree import Kind, Tree, quote

PAL_PATH = b"/.kloister/runtime/ld.so"
_PAL_LIMIT = 16 * 1024 * 1024  # bytes; a dynamic loader has a quarter of a megabyte
_TREE_LIMIT = 128 * 1024 * 1024  # bytes, as formats.enclave.tree
_MEMFD_EXEC = 0x10  # MFD_EXEC, Linux 6.3: the bytes are to be executed


def read_pal(pack: int) -> bytes:
    """The bytes of `ld.so` in a pack directory (descriptor): found through observed.tree, read from contents.

    Raises:
        Malformed: `pack-tree`, `pack-pal`, `pack-contents`.
    """
    offset, size = locate(_read(pack, "observed.tree", _TREE_LIMIT))
    descriptor = _open(pack, "contents")
    try:
        data = _exactly(descriptor, offset, size)
    finally:
        os.close(descriptor)
    return data


def locate(tree: bytes) -> tuple[int, int]:
    """Offset in `contents` and size, both in bytes, of the first code that an observed tree names.

    Raises:
        Malformed: `pack-tree`, `pack-pal`.
    """
    line_end = b" " + quote(PAL_PATH).encode("ascii") + b"\n"
    # Only the lines up to the one wanted are read: it stands near the front, and nothing else of the tree is used.
    at = tree.find(line_end)
    head = tree[: at + len(line_end)] if at >= 0 else tree
    offset = 0
    for entry in Tree.parse(head, whole=False).entries:
        if entry.path == PAL_PATH and entry.kind is Kind.FILE:
            if not 0 < entry.size <= _PAL_LIMIT:
                break
            return offset, entry.size
        offset += entry.size
    raise Malformed(
        "pack-pal",
        f"The pack has no usable {PAL_PATH.decode('ascii')}.",
        "Convert the image again with this version of Kloister.",
    )


def sealed(data: bytes) -> int:
    """A memory file with `data` that nobody can change any more; the caller closes it."""
    descriptor = _memory_file()
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        os.close(descriptor)
        raise Misconfigured("memory-file", f"The first code cannot be held in memory: {error.strerror}.") from None
    return descriptor


def _memory_file() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("kloister-pal", flags | _MEMFD_EXEC)
    except OSError:
        return os.memfd_create("kloister-pal", flags)


def _open(pack: int, name: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=pack)
    except OSError as error:
        code = f"pack-{name.rpartition('.')[2]}"
        raise Malformed(code, f"The pack's {name} cannot be read: {error.strerror}.") from None


def _read(pack: int, name: str, limit: int) -> bytes:
    descriptor = _open(pack, name)
    try:
        size = os.fstat(descriptor).st_size
        if not 0 < size <= limit:
            raise Malformed("pack-tree", f"The pack's {name} has {size} bytes; 1 to {limit} are read.")
        return _exactly(descriptor, 0, size)
    finally:
        os.close(descriptor)


def _exactly(descriptor: int, offset: int, size: int) -> bytes:
    parts = bytearray()
    if offset + size > os.fstat(descriptor).st_size:
        raise _short()
    try:
        while len(parts) < size and (part := os.pread(descriptor, size - len(parts), offset + len(parts))):
            parts += part
    except OSError as error:
        raise Malformed("pack-contents", f"The pack cannot be read: {error.strerror}.") from None
    if len(parts) != size:
        raise _short()
    return bytes(parts)


def _short() -> Malformed:
    return Malformed("pack-contents", "The pack is shorter than its tree says.", "Delete the pack; it is rebuilt.")
