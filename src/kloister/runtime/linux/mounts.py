"""mount(2), umount2(2), pivot_root(2) and mount_setattr(2)."""

from __future__ import annotations

import struct

from kloister.runtime.linux.calls import MOUNT_SETATTR, PIVOT_ROOT, libc, syscall

# include/uapi/linux/mount.h
READ_ONLY = 1
NO_SUID = 2
NO_DEVICES = 4
NO_EXECUTE = 8
BIND = 4096
RECURSIVE = 16384
PRIVATE = 1 << 18
_DETACH = 2  # umount2: MNT_DETACH
_ATTRIBUTES = {READ_ONLY: 0x1, NO_SUID: 0x2, NO_DEVICES: 0x4, NO_EXECUTE: 0x8}  # MOUNT_ATTR_*
_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_AT_FDCWD = -100


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


def bind(source: str, target: str, flags: int = 0) -> None:
    """Show `source` (with what is mounted below it) at `target`, adding the restrictions in `flags`."""
    mount(source, target, flags=BIND | RECURSIVE)
    if flags:
        restrict(target, flags)


def restrict(target: str, flags: int) -> None:
    """Add READ_ONLY, NO_SUID, NO_DEVICES or NO_EXECUTE to a mount and those below; never takes any away."""
    attributes = sum(value for flag, value in _ATTRIBUTES.items() if flags & flag)
    block = struct.pack("<4Q", attributes, 0, 0, 0)  # struct mount_attr: set, clear, propagation, userns
    syscall(MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, block, len(block))


def unmount(target: str) -> None:
    """Detach a mount: gone from the tree at once, freed when its last user is."""
    libc("umount2", target.encode(), _DETACH, subject=target)


def pivot_root(new: str, old: str) -> None:
    """Make `new` (a mount point) the root, and show the old root at `old`."""
    syscall(PIVOT_ROOT, new.encode(), old.encode())
