"""Pid 1 of a sandbox: builds and fills the root, starts the first process, then only waits, forwards and reaps."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket

from kloister.formats.protocol.events import Exited, Log, Refused
from kloister.runtime import preload
from kloister.runtime.linux import notifications, process
from kloister.runtime.runner import events, fill, first, root
from kloister.runtime.runner.host import Clones
from kloister.runtime.runner.sandbox import Blueprint
from kloister.runtime.runner.writes import WriteLog

# raised by our own faults, or not to be caught
_OWN = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT,
}  # fmt: skip
_SIGNALED = 128


def run(link: socket.socket, blueprint: Blueprint, clones: Clones, signals: int) -> int:
    """All that pid 1 does.

    Args:
        link: to the monitor: our events; when it closes, everything ends.
        blueprint: of the sandbox.
        clones: what of the host is attached inside.
        signals: from `catch_signals`.

    Returns:
        The exit status: the application's, 128 + n for signal n.
    """
    watch = events.Stopwatch()
    _become(blueprint)
    writable = blueprint.writable
    _build(link, blueprint, clones, watch)
    pid, launcher = first.start(blueprint)
    _let_go(blueprint, keep={link.fileno(), launcher.fileno(), signals})
    return _Wait(link, launcher, signals, pid, writable).until_it_ends()


def _become(blueprint: Blueprint) -> None:
    process.set_name(b"kloister-init")
    if not blueprint.ids.single:
        os.setgroups([])
        os.setresgid(blueprint.ids.gid, blueprint.ids.gid, blueprint.ids.gid)
        os.setresuid(blueprint.ids.uid, blueprint.ids.uid, blueprint.ids.uid)
    process.hide_memory()
    os.umask(0)


def _build(link: socket.socket, blueprint: Blueprint, clones: Clones, watch: events.Stopwatch) -> None:
    pack = blueprint.pack
    files = blueprint.files()  # the host's are read before its tree is gone
    tree = fill.measured_tree(pack)
    blueprint.require_users(tree)
    fill.require_memory(tree, pack.launch.memory)
    files |= {f"/.kloister/private/{name}": data for name, data in fill.private_layers(pack)}
    events.post(link, watch.phase("compare"))
    root.enter(pack.launch.memory + sum(map(len, files.values())), swap=blueprint.swap)
    root.make_devices(clones)
    events.post(link, watch.phase("mounts"))
    owner = (pack.launch.image.user.uid, pack.launch.image.user.gid)
    places = root.Places(tree, clones, files, pack.launch.writable, owner)
    fill.fill(tree, pack, owners=not blueprint.ids.single, places=places)
    try:
        preload.set_aside()
    except OSError as error:
        raise fill.full_or(error, pack.launch.memory) from None
    places.share()
    events.post(link, watch.phase("fill"))


def catch_signals() -> int:
    """Have every signal that may be forwarded written to a pipe; its reading end."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in signal.valid_signals() - (_OWN - {signal.SIGCHLD}):
        signal.signal(number, _noted)
    return reading


def _noted(_number: int, _frame: object) -> None:
    """The wake-up pipe has it already."""


def _let_go(blueprint: Blueprint, keep: set[int]) -> None:
    """Close what only the first process needs (its pipes must end when it ends), and give memory back."""
    given = blueprint.descriptors
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    spare = {null, given.pal, given.pack, given.enclave, given.stdin, given.stdout, given.stderr, *given.mounts}
    spare |= {given.channel, *blueprint.pack.descriptors}
    for descriptor in spare - keep - {0, 1, 2}:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


class _Wait:
    """The loop of pid 1."""

    def __init__(
        self, link: socket.socket, launcher: socket.socket, signals: int, pid: int, writable: tuple[str, ...]
    ) -> None:
        self._link, self._launcher, self._signals, self._pid = link, launcher, signals, pid
        self._log = WriteLog(writable, lambda text: events.post(link, Log(text)))
        self._listener = -1
        self._refused: Refused | None = None
        self._status: int | None = None
        self._poll = select.poll()
        for descriptor in (link.fileno(), launcher.fileno(), signals):
            self._poll.register(descriptor, select.POLLIN)

    def until_it_ends(self) -> int:
        """Serve until the first process ended; then every other process of the namespace is about to be killed."""
        while self._status is None:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._link.fileno():
                    return 1  # the monitor is gone
                if descriptor == self._launcher.fileno():
                    self._hear()
                elif descriptor == self._signals:
                    self._on_signals()
                elif descriptor == self._listener:
                    self._on_write()
        with contextlib.suppress(BlockingIOError):  # a descendant may hold the other end open
            while self._launcher.fileno() >= 0:
                self._hear()  # what it said before it ended
        return self._finish(self._status)

    def _finish(self, status: int) -> int:
        code = os.waitstatus_to_exitcode(status)
        ended = Exited(None, -code) if code < 0 else Exited(code)
        events.post(self._link, self._refused or ended)
        return _SIGNALED - code if code < 0 else code

    def _on_signals(self) -> None:
        for number in os.read(self._signals, 256):
            if number != signal.SIGCHLD:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, number)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self._status = ended[1]

    def _hear(self) -> None:
        data, passed, _, _ = socket.recv_fds(self._launcher, events.MESSAGE_LIMIT, 1)
        message = events.decode(data)
        if not data:
            self._poll.unregister(self._launcher)
            self._launcher.close()
        elif message.get("event") == "listener" and passed and self._listener < 0:
            self._listener = passed.pop()
            notifications.wake_at_once(self._listener)
            self._poll.register(self._listener, select.POLLIN)
        elif message.get("event") == "refused":
            refused = [str(message.get(name, "")) for name in ("code", "text", "hint")]
            self._refused = Refused(refused[0], refused[1], refused[2])
        elif message.get("event") in {"phase", "log"}:
            events.post(self._link, message)
        for descriptor in passed:
            os.close(descriptor)

    def _on_write(self) -> None:
        if not self._log.serve(self._listener):
            self._poll.unregister(self._listener)
            os.close(self._listener)
            self._listener = -1
