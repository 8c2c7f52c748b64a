"""The C library and raw system calls, with errors as OSError."""

from __future__ import annotations

import ctypes
import errno
import os

_libc = ctypes.CDLL(None, use_errno=True)

# arch/x86/entry/syscalls/syscall_64.tbl
CLONE = 56
PIVOT_ROOT = 155
SECCOMP = 317
OPEN_TREE = 428
MOVE_MOUNT = 429
MOUNT_SETATTR = 442
LANDLOCK_CREATE_RULESET = 444
LANDLOCK_ADD_RULE = 445
LANDLOCK_RESTRICT_SELF = 446

Argument = int | bytes | ctypes.Array[ctypes.c_char] | None


def libc(name: str, *arguments: Argument, subject: str = "") -> int:
    """Call a function of the C library that answers -1 and errno.

    Args:
        name: the function.
        arguments: integers (as C `long`), bytes (NUL-terminated), buffers or None (NULL).
        subject: path or thing to name in the error.

    Raises:
        OSError: the call answered -1.
    """
    result = getattr(_libc, name)(*[_argument(value) for value in arguments])
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", subject or None)
    return int(result)


def syscall(number: int, *arguments: Argument) -> int:
    """Call the kernel by number.

    Raises:
        OSError: the kernel refused; ENOSYS where it does not know the call.
    """
    try:
        return libc("syscall", number, *arguments)
    except OSError as error:
        known = error.errno or errno.EIO
        raise OSError(known, f"system call {number}: {os.strerror(known)}") from None


def _argument(value: Argument) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value
