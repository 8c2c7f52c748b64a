"""Takes from the daemon what it does not need: its user, its capabilities, its readability by others."""

from __future__ import annotations

import codecs
import ctypes
import os
import resource
import struct

from kloister.errors import Misconfigured

# linux/prctl.h and linux/capability.h
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 4, 8, 38
_CAP_KILL, _CAP_SYS_PTRACE = 5, 19
_CAPABILITY_VERSION_3 = 0x20080522


def hide() -> None:
    """No core dump, no ptrace and no /proc/PID/mem for processes of the same user: the keys are in here."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def become(uid: int, gid: int) -> None:
    """Become another user; of root's powers keep those to look at (namespace) and to signal the enclaves' processes.

    Raises:
        Misconfigured: `platform-user`.
    """
    load_codecs()
    try:
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        _prctl(_PR_SET_KEEPCAPS, 0)
        _keep(1 << _CAP_KILL | 1 << _CAP_SYS_PTRACE)
    except OSError as error:
        raise Misconfigured(
            "platform-user",
            f"The platform cannot become the user {uid}: {error.strerror}.",
            "Start it as root, or leave KLOISTER_PLATFORM_USER unset.",
        ) from None


def load_codecs() -> None:
    """Load what Python would load on first use: the files may be out of the new user's reach."""
    for name in ("ascii", "idna", "utf-16-be"):
        codecs.lookup(name)


def _keep(capabilities: int) -> None:
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION_3, 0))
    # Two records of effective, permitted, inheritable: the low and the high 32 capabilities (capset(2)).
    sets = ctypes.create_string_buffer(struct.pack("<6I", low, low, 0, high, high, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
