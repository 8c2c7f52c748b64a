"""What a process sets on itself: prctl(2) and unshare(2)."""

from __future__ import annotations

import signal

from kloister.runtime.linux.calls import CLONE, libc, syscall

# include/uapi/linux/prctl.h
_SET_PDEATHSIG = 1
_GET_DUMPABLE = 3
_SET_DUMPABLE = 4
_SET_NAME = 15
_CAPBSET_READ = 23
_CAPBSET_DROP = 24
_SET_CHILD_SUBREAPER = 36
_SET_NO_NEW_PRIVS = 38

# include/uapi/linux/sched.h
NEW_MOUNT = 0x00020000
NEW_CGROUP = 0x02000000
NEW_UTS = 0x04000000
NEW_IPC = 0x08000000
NEW_USER = 0x10000000
NEW_PID = 0x20000000
NEW_NET = 0x40000000

MOST_DESCRIPTORS = 1 << 20  # the greatest fs.nr_open that systems set


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags`; NEW_PID takes effect for the next child."""
    libc("unshare", flags)


def sethostname(name: bytes) -> None:
    """Set the host name of the uts namespace (at most 64 bytes)."""
    libc("sethostname", name, len(name))


def die_with_parent() -> None:
    """Have SIGKILL sent to this process when the thread that forked it ends.

    The caller must check afterwards that its parent is still there: it may have died before.
    """
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)


def fork_unseen() -> int:
    """Fork a child that no `wait` of this process sees, nor of a program that it executes later (wait(2), `__WCLONE`).

    A program that waits for all children would otherwise wait for this one as well. The process must have one thread.

    Returns:
        The child's pid; 0 in the child.
    """
    return syscall(CLONE, 0, 0, 0, 0, 0)  # like fork(2), but for the signal at its end, which is none


def hide_memory() -> None:
    """Make this process non-dumpable: no core file, and no look into its memory by others of its user."""
    _prctl(_SET_DUMPABLE, 0)


def is_dumpable() -> bool:
    """Whether others of the same user may look into this process."""
    return _prctl(_GET_DUMPABLE) == 1


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """From here on no execve gains privileges; needed before `seccomp.install` and `landlock.restrict`."""
    _prctl(_SET_NO_NEW_PRIVS, 1)


def set_name(name: bytes) -> None:
    """Set the name that `ps` shows (15 bytes are kept)."""
    libc("prctl", _SET_NAME, name, 0, 0, 0)


def keep_capabilities(kept: frozenset[int]) -> None:
    """Drop every capability but `kept` from the bounding set: gone at the next execve, for good."""
    for number in range(64):
        if number in kept:
            continue
        try:
            if _prctl(_CAPBSET_READ, number):
                _prctl(_CAPBSET_DROP, number)
        except OSError:  # EINVAL: past the last capability that this kernel knows
            return


def _prctl(option: int, value: int = 0) -> int:
    return libc("prctl", option, value, 0, 0, 0)
