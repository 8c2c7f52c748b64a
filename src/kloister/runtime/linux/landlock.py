"""Landlock: a process takes from itself the right to write, but for some places (landlock(7))."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable

from kloister.runtime.linux.calls import (
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    syscall,
)

# include/uapi/linux/landlock.h, LANDLOCK_ACCESS_FS_*
EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIRECTORY = 1 << 3
_MAKE_AND_REMOVE = 0x1FF0  # REMOVE_DIR (bit 4) to MAKE_SYM (bit 12)
REFER = 1 << 13  # ABI 2: link and rename between directories
TRUNCATE = 1 << 14  # ABI 3
_READ = EXECUTE | READ_FILE | READ_DIRECTORY
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE

_SCOPE_ABSTRACT_SOCKETS = 1 << 0  # ABI 6
_SCOPE_SIGNALS = 1 << 1  # ABI 6
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
_ABI_REFER, _ABI_TRUNCATE, _ABI_SCOPE = 2, 3, 6


def abi() -> int:
    """The kernel's version of Landlock, or 0 where it is not built in or not switched on."""
    try:
        return syscall(LANDLOCK_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(writable: Iterable[str], *, scope: bool = True) -> int:
    """Leave this thread and its descendants reading and executing everywhere, writing below `writable` only.

    A refused write is EACCES. `no_new_privileges` must have been called. Metadata (mode, owner, times) is not
    Landlock's subject.

    Args:
        writable: existing paths, directories (all below them) or files; those that do not exist are left out.
        scope: also cut off abstract Unix sockets and signals to processes outside (from ABI 6 on).

    Returns:
        The ABI that was used.

    Raises:
        OSError: ENOSYS or EOPNOTSUPP where the kernel has no Landlock.
    """
    version = syscall(LANDLOCK_CREATE_RULESET, None, 0, _VERSION)
    handled = _READ | WRITE_FILE | _MAKE_AND_REMOVE
    handled |= REFER if version >= _ABI_REFER else 0
    handled |= TRUNCATE if version >= _ABI_TRUNCATE else 0
    ruleset = _create(handled, version, scope=scope)
    try:
        _allow(ruleset, "/", _READ)
        for path in writable:
            _allow(ruleset, path, handled)
        syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _create(handled: int, version: int, *, scope: bool) -> int:
    attributes = struct.pack("<Q", handled)
    if scope and version >= _ABI_SCOPE:  # struct landlock_ruleset_attr: fs, net (not handled), scoped
        attributes += struct.pack("<QQ", 0, _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS)
    return syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _OF_A_FILE
        rule = struct.pack("<Qi", access, descriptor)  # struct landlock_path_beneath_attr, packed
        syscall(LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    except OSError as error:
        if error.errno != errno.EBADFD:  # a pipe or socket has no place in the tree: nothing to restrict
            raise
    finally:
        os.close(descriptor)
