from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kloister import clock, entropy
from kloister.errors import KloisterError, Malformed, Unverified
from kloister.formats.protocol import events, platform
from kloister.formats.protocol.frames import CONTROL_LIMIT
from kloister.formats.protocol.spawner import GO, StartRequest
from kloister.tee.simulated import identity
from kloister.tee.simulated.connection import Connection, Message
from kloister.tee.simulated.door import Door
from kloister.tee.simulated.framing import close_all
from kloister.tee.simulated.pal import read_pal, sealed
from kloister.tee.simulated.ports import Enclave, Platform
from kloister.tee.simulated.spawning import SpawnerLink
from kloister.tee.simulated.store import Store

_LOG = logging.getLogger("kloister.platform")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every launch of one daemon shares. `mechanism` is that of `identity.mechanism`."""

    selector: selectors.BaseSelector
    platform: Platform
    spawner: SpawnerLink
    store: Store
    mechanism: str


class Launch:
    """One enclave, from its pages to its removal.

    Args:
        around: what all launches share.
        report: gets each event; the last one is `Exited` or `Refused`.
        over: called once when the enclave is removed.
    """

    what = "event"
    limit = CONTROL_LIMIT

    def __init__(
        self, around: Surroundings, report: Callable[[events.Event], None], over: Callable[[Launch], None]
    ) -> None:
        self.name = entropy.identifier()
        self.mrenclave = b""
        self._around = around
        self._report = report
        self._over = over
        self._enclave: Enclave | None = None
        self._channel: Connection | None = None
        self._inherited: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._door: Door | None = None
        self._sandbox: list[int] = []  # pidfd of the init, its pid namespace: open, so that neither is given away
        self._early: list[int] = []  # signals that came before the sandbox did
        self._done = False

    def begin(self, request: platform.Launch, descriptors: Sequence[int]) -> None:
        """Build the enclave and have its first process started; the descriptors stay the caller's.

        Raises:
            KloisterError: what the pack, EINIT or the EPC refuse; nothing is left of the launch then.
        """
        if len(descriptors) != len(platform.DESCRIPTORS) + len(request.mounts):
            raise Malformed("platform-descriptors", "A launch needs a pack, three streams and each mount.")
        try:
            began = clock.monotonic()
            pal = read_pal(descriptors[0])
            self._enclave = self._around.platform.start(request.manifest, pal, request.sigstruct, debug=request.debug)
            self.mrenclave = self._enclave.mrenclave
            spent = round((clock.monotonic() - began) * 1_000_000)
            self._start(request, pal, descriptors)
        except BaseException:
            self._done = True
            self._release()
            raise
        _LOG.info("enclave %s started, mrenclave %s%s", self.name, self.mrenclave.hex(), " DEBUG" * request.debug)
        self._report(events.Started(self.name, self.mrenclave.hex()))
        self._report(events.Phase("enclave", spent))

    def signal(self, number: int) -> None:
        """Pass a signal on to the enclave's init; before there is one, it waits."""
        if self._sandbox:
            _send_signal(self._sandbox[0], number)
        else:
            self._early.append(number)

    def kill(self) -> None:
        """End the enclave now; nothing more is reported."""
        if self._done:
            return
        self._done = True
        self._release()

    def check(self, who: identity.Credentials) -> None:
        """The channel is a socket pair between the runner and this daemon: whoever speaks there is the runner."""

    def message(self, connection: Connection, message: Message, passed: list[int]) -> None:
        """Take an event from the runner."""
        del connection
        try:
            event = events.parse_event(message)
            if isinstance(event, events.Sandbox):
                self._enter(passed)
                passed = []
                return
        except KloisterError as error:
            self._end(events.Refused(error.code, error.text, error.hint))
            return
        finally:
            close_all(passed)
        if isinstance(event, events.LAST):
            self._end(event)
        elif not isinstance(event, events.Started):
            self._report(event)

    def closed(self) -> None:
        """The runner's channel ended; without a last event before, that is a failure."""
        self._end(
            events.Refused(
                "sandbox-lost",
                "The sandbox's runner ended without saying how.",
                "See the platform's log; `kloister doctor` checks what this machine allows.",
            )
        )

    def _start(self, request: platform.Launch, pal: bytes, descriptors: Sequence[int]) -> None:
        around = self._around
        self._inherited, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        memory = -1
        try:
            room = around.store.make_room(self.name)
            self._listener = around.store.listen(f"{room}/socket", 0o666)  # any uid inside; its directory is private
            if around.mechanism == identity.PIDFD:
                identity.ask_for_senders(self._inherited)
                identity.ask_for_senders(self._listener)
            memory = sealed(pal)
            start = StartRequest(
                self.name, request.manifest, str(around.store.path / room / "socket"), request.host, request.mounts
            )
            around.spawner.start(start, [theirs.fileno(), memory, descriptors[0], inside.fileno(), *descriptors[1:]])
            self._channel = Connection(around.selector, ours, self)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            inside.close()
            if memory >= 0:
                os.close(memory)

    def _enter(self, passed: list[int]) -> None:
        """Learn who the enclave is, and open its sockets."""
        if self._sandbox or len(passed) != 2:  # noqa: PLR2004 (events.Sandbox: init and namespace)
            raise Malformed("event-sandbox", "The runner named the sandbox twice, or without its descriptors.")
        own = identity.Namespace.of(passed[1])
        if not _is_apart(passed[0], own):
            raise Unverified("sandbox-namespace", "The sandbox has no living pid namespace of its own.")
        self._open(own)
        self._sandbox = passed
        for number in self._early:
            _send_signal(passed[0], number)
        if self._channel is not None:
            self._channel.send(GO)

    def _open(self, own: identity.Namespace) -> None:
        around, enclave = self._around, self._enclave
        if enclave is None or self._inherited is None or self._listener is None:
            return
        self._door = Door(around.selector, enclave, own if around.mechanism == identity.PIDFD else None)
        self._door.serve(self._inherited)
        self._door.listen(self._listener)
        self._inherited = self._listener = None

    def _end(self, last: events.Event) -> None:
        if self._done:
            return
        self._done = True
        self._release()
        self._report(last)

    def _release(self) -> None:
        """Kill what lives, give everything back. `_done` is set before, so that closing sockets calls nothing here."""
        if self._sandbox:
            _send_signal(self._sandbox[0], signal.SIGKILL)
        for part in (self._door, self._channel, self._inherited, self._listener):
            if part is not None:
                part.close()
        close_all(self._sandbox)
        self._sandbox = []
        self._around.store.drop_room(self.name)
        if self._enclave is not None:
            self._enclave.remove()
            self._enclave = None
            _LOG.info("enclave %s removed", self.name)
        self._over(self)


def _is_apart(pidfd: int, own: identity.Namespace) -> bool:
    """Whether a living process is in the namespace `own`, and the daemon itself is not."""
    try:
        genuine = identity.pid_namespace(pidfd) == own and own != identity.Namespace.of_self()
    except OSError:
        return False
    return genuine and identity.alive(pidfd)


def _send_signal(pidfd: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it has exited
        signal.pidfd_send_signal(pidfd, number)
