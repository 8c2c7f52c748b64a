"""From the monitor's process into the sandbox's namespaces: one process that unshares, and its child, pid 1."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import NoReturn

from kloister.errors import Misconfigured, Unavailable
from kloister.runtime.linux import mounts, process
from kloister.runtime.runner import events, host, init
from kloister.runtime.runner.sandbox import Blueprint

_ALL = process.NEW_USER | process.NEW_MOUNT | process.NEW_PID | process.NEW_IPC | process.NEW_UTS
MAPPED = b"mapped"
GO = b"go"


def child(link: socket.socket, task: Callable[[], int]) -> NoReturn:
    """Run `task` as all that this forked process does; what goes wrong is the last event on `link`."""
    status = 1
    try:
        status = task()
    except Exception as error:  # noqa: BLE001 -- the last frame of a process: nothing may climb into the parent's code
        events.post(link, events.refusal(error))
    finally:
        os._exit(status)


def unshare(link: socket.socket, blueprint: Blueprint) -> int:
    """Make the namespaces, clone what of the host is shown inside, fork pid 1, and end.

    The clones are made here, with the caller's own rights to the host's paths, before they are given up.

    Raises:
        Misconfigured: `user-namespaces`. Unavailable, Denied: of the clones.
    """
    process.die_with_parent()
    try:
        process.unshare(_ALL)
    except OSError as error:
        raise Misconfigured(
            "user-namespaces",
            f"This machine does not let this user make namespaces: {error.strerror}.",
            "Run `kloister doctor`; it names the setting.",
        ) from None
    events.post(link, {"event": "unshared"})
    if link.recv(len(MAPPED)) != MAPPED:
        return 1
    mounts.make_private()
    clones = host.clones(blueprint.request.attestation, blueprint.shown)
    pid = os.fork()
    if pid:
        events.post(link, {"event": "forked", "pid": pid})
        return 0
    child(link, lambda: _begin(link, blueprint, clones))


def _begin(link: socket.socket, blueprint: Blueprint, clones: host.Clones) -> int:
    signals = init.catch_signals()  # before anyone is told that there is someone to send them to
    events.post(link, {"event": "ready"})
    if link.recv(len(GO)) != GO:
        return 1
    # only now is the monitor the parent: the process that unshared has ended
    process.die_with_parent()
    if is_closed(link):
        raise Unavailable("monitor-gone", "The process that watches the sandbox is gone.")
    return init.run(link, blueprint, clones, signals)


def is_closed(link: socket.socket) -> bool:
    """Whether the other end is gone."""
    try:
        return not link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
