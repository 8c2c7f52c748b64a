"""Step 7, first half: this process gives up what the application shall not have. Nothing here can be undone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import LaunchDocument, User
from kloister.runtime.launcher.channel import Channel
from kloister.runtime.linux import landlock, process, seccomp

ALWAYS = ("/dev", "/proc")  # what may be written there is decided by the devices' and processes' own modes
_STREAMS = ("/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2")  # so that /dev/stdout can be opened again

# include/uapi/linux/capability.h: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE
ROOT_KEEPS = frozenset({0, 1, 3, 4, 5, 6, 7, 10})
"""What an image that runs as root keeps *inside its own user namespace*, so that its entry point can hand its data
over and become another user. Any other user keeps nothing."""


def lock_down(launch: LaunchDocument, channel: Channel) -> None:
    """Become the image's user, unprivileged for good, writing only where that was declared.

    Raises:
        Misconfigured: `user-switch`, `landlock-missing`, `seccomp-missing`.
    """
    user = launch.image.user
    os.umask(0o022)
    process.keep_capabilities(ROOT_KEEPS if user.uid == 0 else frozenset())
    become(user)
    process.no_new_privileges()
    restrict_writes([*launch.writable, *launch.mounts.values(), *ALWAYS, *_STREAMS])
    _filter_calls(channel)
    _reset_signals()


def become(user: User) -> None:
    """Take the user's ids, all of them; where only one user exists this process is that user already.

    Raises:
        Misconfigured: `user-switch`.
    """
    try:
        if (os.getuid(), os.getgid()) != (user.uid, user.gid) or os.getuid() == 0:
            os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
    except PermissionError:
        if (os.getuid(), os.getgid()) != (user.uid, user.gid):
            raise _no_user(user) from None
    except OSError:  # EINVAL: the id is not mapped
        raise _no_user(user) from None


def restrict_writes(writable: Iterable[str]) -> None:
    """Landlock: read everywhere, write below these only.

    Raises:
        Misconfigured: `landlock-missing`.
    """
    try:
        landlock.restrict(writable)
    except OSError as error:
        raise Misconfigured(
            "landlock-missing",
            f"The kernel cannot limit where the application writes: {error.strerror}.",
            "Use a kernel with Landlock switched on (5.13 or newer); see kloister doctor.",
        ) from None


def _filter_calls(channel: Channel) -> None:
    try:
        listener = seccomp.install(
            seccomp.program(notify=channel.descriptor is not None), notify=channel.descriptor is not None
        )
    except OSError as error:
        raise Misconfigured(
            "seccomp-missing",
            f"The kernel cannot filter the application's system calls: {error.strerror}.",
            "Use a kernel with seccomp user notification (5.0 or newer); see kloister doctor.",
        ) from None
    if listener is not None:
        channel.listener(listener)


def _reset_signals() -> None:
    """Python ignores some signals, and ignored ones stay so over execve; the application expects the defaults."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except OSError:  # kept by the C library
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _no_user(user: User) -> Misconfigured:
    return Misconfigured(
        "user-switch",
        f"The image runs as user {user.uid}:{user.gid}, which does not exist in this sandbox.",
        "Install newuidmap (package uidmap) and give yourself subordinate ids; see kloister doctor.",
    )
