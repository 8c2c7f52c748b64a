"""mount(2), umount2(2), pivot_root(2), and the calls on detached mounts (Linux 5.12: mount_setattr(2))."""

from __future__ import annotations

import struct

from kloister.runtime.linux.calls import MOUNT_SETATTR, MOVE_MOUNT, OPEN_TREE, PIVOT_ROOT, libc, syscall

# include/uapi/linux/mount.h
READ_ONLY = 1
NO_SUID = 2
NO_DEVICES = 4
NO_EXECUTE = 8
RECURSIVE = 16384
PRIVATE = 1 << 18
_DETACH = 2  # umount2: MNT_DETACH
_ATTRIBUTES = {READ_ONLY: 0x1, NO_SUID: 0x2, NO_DEVICES: 0x4, NO_EXECUTE: 0x8}  # MOUNT_ATTR_*
_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_AT_FDCWD = -100
_TREE_CLONE = 1  # OPEN_TREE_CLONE
_TREE_CLOEXEC = 0o2000000
_MOVE_EMPTY_PATH = 4  # MOVE_MOUNT_F_EMPTY_PATH


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount `source` at `target`.

    Raises:
        OSError: naming the target.
    """
    data = options.encode() if options else None
    libc("mount", source.encode(), target.encode(), kind.encode() or None, flags, data, subject=target)


def make_private() -> None:
    """Cut this mount namespace off: what happens here is not seen outside, nor the reverse."""
    mount("none", "/", flags=RECURSIVE | PRIVATE)


def unmount(target: str) -> None:
    """Detach a mount: gone from the tree at once, freed when its last user is."""
    libc("umount2", target.encode(), _DETACH, subject=target)


def pivot_root(new: str, old: str) -> None:
    """Make `new` (a mount point) the root, and show the old root at `old`."""
    syscall(PIVOT_ROOT, new.encode(), old.encode())


def clone(descriptor: int, flags: int = 0) -> int:
    """A detached copy of the mount at `descriptor` (an O_PATH descriptor of this mount namespace) and those below.

    Args:
        descriptor: of a file or directory.
        flags: restrictions to add (READ_ONLY, NO_SUID, NO_DEVICES, NO_EXECUTE).

    Returns:
        A descriptor for `attach`; closing it unattached frees the copy.
    """
    copy = syscall(OPEN_TREE, descriptor, b"", _TREE_CLONE | _TREE_CLOEXEC | _AT_RECURSIVE | _AT_EMPTY_PATH)
    if flags:
        _set(copy, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, flags)
    return copy


def attach(copy: int, target: str) -> None:
    """Attach what `clone` made at `target`, which must be of the same kind (file or directory)."""
    syscall(MOVE_MOUNT, copy, b"", _AT_FDCWD, target.encode(), _MOVE_EMPTY_PATH)


def _set(descriptor: int, path: bytes, how: int, flags: int) -> None:
    attributes = sum(value for flag, value in _ATTRIBUTES.items() if flags & flag)
    block = struct.pack("<4Q", attributes, 0, 0, 0)  # struct mount_attr: set, clear, propagation, userns
    syscall(MOUNT_SETATTR, descriptor, path, how, block, len(block))
