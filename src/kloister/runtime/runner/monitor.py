"""The process outside that watches one sandbox: makes its namespaces, relays its events, and waits for its end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket

from kloister.errors import KloisterError, Malformed, Misused, Unavailable
from kloister.formats.protocol.events import LAST, Event, Refused, Sandbox, parse_event
from kloister.formats.protocol.spawner import GO, StartRequest
from kloister.runtime.linux import process
from kloister.runtime.runner import events, namespaces
from kloister.runtime.runner.sandbox import Blueprint, Descriptors
from kloister.runtime.runner.streams import Streams
from kloister.tee.simulated import framing

_GONE = Refused("sandbox-died", "The sandbox ended without saying why; the kernel may have killed it (memory?).")


def watch(request: StartRequest, descriptors: Descriptors, arguments: tuple[str, ...]) -> int:
    """From the request to the end of the sandbox; the last event says how it ended."""
    process.die_with_parent()
    process.set_name(b"kloister-watch")
    process.adopt_orphans()
    channel = socket.socket(fileno=descriptors.channel)
    try:
        last: Event = _Monitor(channel, request, descriptors, arguments).run()
    except (KloisterError, OSError) as error:
        last = events.refusal(error)
    with contextlib.suppress(Unavailable):
        framing.send(channel, last.build())
    return 0


class _Monitor:
    def __init__(
        self, channel: socket.socket, request: StartRequest, descriptors: Descriptors, arguments: tuple[str, ...]
    ) -> None:
        self._channel = channel
        self._watch = events.Stopwatch()
        self._streams = Streams(descriptors)
        self._descriptors = self._streams.inside
        self._blueprint = Blueprint.draw(request, self._descriptors, arguments)
        self._link, self._inner = events.pair()
        self._last: Event | None = None

    def run(self) -> Event:
        checked = self._watch.phase("check")
        unshared = os.fork()
        if not unshared:
            self._link.close()
            self._streams.leave()
            namespaces.child(self._inner, lambda: namespaces.unshare(self._inner, self._blueprint))
        self._inner.close()
        try:
            init = self._enter(unshared)
        finally:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(unshared, 0)
        if init is None:
            return self._last or _GONE
        pidfd = os.pidfd_open(init)
        try:
            self._announce(init, pidfd)
            if not self._told_to_go():
                return _GONE
            self._send(checked)
            self._send(self._watch.phase("namespaces"))
            self._link.send(namespaces.GO)
            self._close_given()
            self._streams.start()
            self._relay(pidfd)
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(init, 0)  # returns when every process of the namespace is gone
            os.close(pidfd)
        self._drain()
        self._streams.finish()
        return self._last or _GONE

    def _enter(self, unshared: int) -> int | None:
        """Map the ids of the new user namespace; pid 1's number, or None after a refusal."""
        if self._hear() != {"event": "unshared"}:
            return None
        self._blueprint.ids.write(unshared)
        self._link.send(namespaces.MAPPED)
        seen: dict[str, object] = {}
        while "forked" not in seen or "ready" not in seen:  # of two processes, in either order
            message = self._hear()
            if not message:
                return None
            seen[str(message["event"])] = message.get("pid")
        pid = seen["forked"]
        return pid if isinstance(pid, int) else None

    def _hear(self) -> dict[str, object] | None:
        """The next message of the children that is not an event for the daemon; None at the end."""
        data = self._link.recv(events.MESSAGE_LIMIT)
        message = events.decode(data)
        if not data:
            return None
        if message.get("event") in {"unshared", "forked", "ready"}:
            return message
        self._take(message)
        return {}

    def _take(self, message: dict[str, object]) -> None:
        event = parse_event(message)
        if isinstance(event, LAST):
            self._last = self._last or event
        else:
            self._send(event)

    def _send(self, event: Event) -> None:
        framing.send(self._channel, event.build())

    def _announce(self, pid: int, pidfd: int) -> None:
        namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            framing.send(self._channel, Sandbox(pid).build(), [pidfd, namespace])
        finally:
            os.close(namespace)

    def _told_to_go(self) -> bool:
        """Wait until the daemon knows pid 1; False when it wants no sandbox any more."""
        received = framing.Reader(self._channel, "start").receive()
        if received is None:
            return False
        message, passed = received
        framing.close_all(passed)
        if message != GO or passed:
            raise Malformed("start-op", "The daemon tells a monitor one thing: go.")
        return True

    def _close_given(self) -> None:
        """The pipes of the application must end when it ends, so nothing out here may hold them."""
        given = self._descriptors
        for descriptor in {
            given.pal,
            given.pack,
            given.enclave,
            given.stdin,
            given.stdout,
            given.stderr,
            *given.mounts,
        }:
            os.close(descriptor)
        for descriptor in self._blueprint.pack.descriptors:
            os.close(descriptor)

    def _relay(self, pidfd: int) -> None:
        """Until pid 1 ends, or the daemon closes the channel."""
        poll = select.poll()
        for descriptor in (self._link.fileno(), self._channel.fileno(), pidfd):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._link.fileno() in ready and self._hear() is None:
                return
            if self._channel.fileno() in ready:
                if self._channel.recv(1):
                    raise Misused("channel-talk", "Nothing is sent to a monitor but go.")
                return
            if pidfd in ready and self._link.fileno() not in ready:
                return

    def _drain(self) -> None:
        self._link.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while self._hear() is not None:
                pass
