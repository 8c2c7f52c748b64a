"""Starts the enclave's first process: pid 2, from the measured bytes and from nothing else."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
from pathlib import Path

from kloister.formats.protocol.events import Refused
from kloister.runtime.linux import process
from kloister.runtime.runner import events
from kloister.runtime.runner.sandbox import Blueprint

ENCLAVE = 3
INIT = 5
_ABOVE = 16  # descriptors are first moved from here on up, out of each other's way
_FAILED = 126

# What containers have by custom (capabilities(7)): chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
# net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap; all within the user namespace only
CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})


def start(blueprint: Blueprint) -> tuple[int, socket.socket]:
    """Fork and execute the first process.

    Returns:
        Its pid and our end of the init socket, which does not block.
    """
    ours, theirs = events.pair()
    _next_pid_is_two()
    pid = os.fork()
    if pid:
        theirs.close()
        ours.setblocking(False)
        return pid, ours
    try:
        pal = _prepare(blueprint, theirs.fileno())
        _execute(pal, blueprint.arguments)
    finally:
        os._exit(_FAILED)


def _next_pid_is_two() -> None:
    """The processes that filled the root have used numbers up; a first process that is always 2 is easier to find."""
    try:
        Path("/proc/sys/kernel/ns_last_pid").write_text("1")
    except OSError:
        return  # a kernel without checkpoint and restore: then it has another number


def _prepare(blueprint: Blueprint, init_socket: int) -> int:
    """Leave to this process what the first process has, and the descriptor to execute, which is returned."""
    os.setsid()
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Secrets in memory must not reach a disk: 0 keeps a core from files, 1 also from a handler behind a pipe (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    os.umask(0o022)
    # whoever is not root inside has none after execve and can drop none: what it could ever gain is dropped here
    process.keep_capabilities(CAPABILITIES if blueprint.ids.uid == 0 else frozenset())
    given = blueprint.descriptors
    pal = fcntl.fcntl(given.pal, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    wanted = {0: given.stdin, 1: given.stdout, 2: given.stderr, ENCLAVE: given.enclave, INIT: init_socket}
    raised = {target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for target, source in wanted.items()}
    for target, source in raised.items():
        os.dup2(source, target, inheritable=True)
    for begin, end in ((INIT - 1, INIT), (INIT + 1, pal), (pal + 1, process.MOST_DESCRIPTORS)):
        os.closerange(begin, end)
    return pal


def _execute(pal: int, arguments: tuple[str, ...]) -> None:
    try:
        os.execve(pal, arguments, {})  # noqa: S606 -- no shell is wanted
    except OSError as error:
        with socket.socket(fileno=INIT) as sock:
            reason = f"The first process could not be executed: {error.strerror}."
            events.post(sock, Refused("first-process", reason))
