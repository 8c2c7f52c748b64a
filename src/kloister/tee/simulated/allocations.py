"""Allocations: the sockets that the node agent has mounted into containers, one container each.

Who reaches the socket is the container that it was made for. Its first process attaches an enclave of the bytes that it
names; from then on its pid namespace is the enclave, until that process ends. The platform did not start that process
and takes its word for what it is: what that does not hold is in docs/security.md.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
from collections.abc import Iterator, Sequence

from kloister import entropy
from kloister.errors import Denied, KloisterError, Malformed, Unavailable
from kloister.formats.protocol.allocations import Allocate, AllocationStatus, Attach
from kloister.formats.protocol.frames import CONTROL_LIMIT
from kloister.formats.protocol.tee import answer, refusal
from kloister.tee.simulated import identity
from kloister.tee.simulated.connection import Connection, Message
from kloister.tee.simulated.door import Door, unknown_caller
from kloister.tee.simulated.launch import Surroundings
from kloister.tee.simulated.ports import Enclave
from kloister.tee.simulated.remembering import Remembered, recall

_MOST = 4096  # allocations of one node; kubelet runs 110 pods unless it is told otherwise
_MOST_VISITORS = 2  # connections of one allocation before it is attached: each may send a frame of 16 MiB
_LOG = logging.getLogger("kloister.platform")


class Allocations:
    """All allocations of one platform, by id.

    Args:
        around: what everything of one daemon shares.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._known: dict[str, Allocation] = {}
        for name in around.store.attached():
            found = recall(around.store.remembered(name))
            if found is None:
                around.store.forget(name)
            else:
                os.close(found[1])

    def __iter__(self) -> Iterator[AllocationStatus]:
        """What each is, in the order in which they were made."""
        return (allocation.status() for allocation in self._known.values())

    def add(self, request: Allocate, passed: Sequence[int]) -> None:
        """Serve a listening socket; the descriptors stay the caller's.

        Raises:
            Malformed: `allocation-socket`: not one listening Unix stream socket was passed.
            Denied: `allocation-exists`.
            Unavailable: `allocation-limit`.
        """
        if request.id in self._known:
            raise Denied("allocation-exists", f"There is an allocation {request.id} already.", "Release it first.")
        if len(self._known) >= _MOST:
            raise Unavailable("allocation-limit", f"There are {_MOST} allocations already.", "Release some.")
        self._known[request.id] = allocation = Allocation(self._around, request, _listener(passed))
        allocation.restore()

    def release(self, name: str) -> None:
        """End an allocation. Raises `Denied` (`allocation-unknown`)."""
        allocation = self._known.pop(name, None)
        if allocation is None:
            raise Denied("allocation-unknown", f"There is no allocation {name}.", "Ask for `allocations`.")
        allocation.close()

    def close(self) -> None:
        """End all; who was attached is remembered for the next daemon."""
        while self._known:
            self._known.popitem()[1].close(forget=False)


class Allocation:
    """One container's socket, and the enclave that is attached to it.

    Args:
        around: what everything of one daemon shares.
        request: its id and its bytes of EPC.
        listener: its listening socket, owned from now on.
    """

    def __init__(self, around: Surroundings, request: Allocate, listener: socket.socket) -> None:
        self._around = around
        self._request = request
        self._listener = listener
        self._visitors: list[Visitor] = []
        self._attached: _Attached | None = None
        if around.mechanism == identity.PIDFD:
            identity.ask_for_senders(listener)
        listener.setblocking(False)
        around.selector.register(listener, selectors.EVENT_READ, self._accept)

    def status(self) -> AllocationStatus:
        """What it is now."""
        request, attached = self._request, self._attached
        if attached is None:
            return AllocationStatus(request.id, request.epc, request.directory)
        enclave = attached.enclave
        return AllocationStatus(
            request.id, request.epc, request.directory, enclave.epc, attached.name, enclave.mrenclave.hex()
        )

    def attach(self, request: Attach, first: int) -> Door:
        """Build the enclave of a container's first process (its pidfd, which stays the caller's).

        Raises:
            Denied: `allocation-attached`, `epc-over-request`.
            KloisterError: what EINIT or the EPC refuse.
        """
        if self._attached is not None and identity.alive(self._attached.first):
            raise Denied(
                "allocation-attached",
                "A container holds this allocation's enclave already.",
                "Let each container request its own (sgx.intel.com/epc); do not mount one's folder into another.",
            )
        self._detach()
        door = self._build(request, first)
        try:
            self._around.store.remember(self._request.id, Remembered.of(request, first).build())
        except OSError as error:
            _LOG.warning("allocation %s: a restart of the platform will end its enclave: %s", self._request.id, error)
        return door

    def restore(self) -> None:
        """Build the enclave again of a container that was attached when the platform ended, if it still runs."""
        found = recall(self._around.store.remembered(self._request.id))
        if found is None:
            return
        request, first = found
        try:
            self._build(request, first)
        except KloisterError as error:
            _LOG.warning("allocation %s: its enclave is lost: %s", self._request.id, error)
        finally:
            os.close(first)

    def _build(self, request: Attach, first: int) -> Door:
        enclave = self._around.platform.start(
            request.manifest, request.first_code, request.sigstruct, debug=request.debug, epc=self._request.epc
        )
        try:
            self._attached = _Attached(self._around, enclave, first)
        except OSError:  # it ended while its enclave was built
            enclave.remove()
            raise identity.caller_exited() from None
        self._around.selector.register(self._attached.first, selectors.EVENT_READ, lambda _ready: self._detach())
        mode = " DEBUG" * request.debug
        _LOG.info("allocation %s: enclave %s attached%s", self._request.id, enclave.mrenclave.hex(), mode)
        return self._attached.door

    def close(self, *, forget: bool = True) -> None:
        """Remove the enclave and answer nobody any more."""
        self._around.selector.unregister(self._listener)
        self._listener.close()
        self._detach(forget=forget)
        for visitor in self._visitors:
            visitor.connection.close()

    def _detach(self, *, forget: bool = True) -> None:
        attached, self._attached = self._attached, None
        if forget:
            self._around.store.forget(self._request.id)
        for visitor in self._visitors:
            if visitor.attached:
                visitor.connection.close()
        if attached is not None:
            self._around.selector.unregister(attached.first)
            attached.close()
            _LOG.info("allocation %s: enclave removed", self._request.id)

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if self._attached is not None and identity.alive(self._attached.first):
            self._attached.door.admit(sock)
            return
        self._visitors = [visitor for visitor in self._visitors if visitor.connection.open]
        if len(self._visitors) >= _MOST_VISITORS:
            self._visitors.pop(0).connection.close()
        visitor = Visitor(self, self._around.selector, sock)
        self._visitors.append(visitor)
        if self._around.mechanism != identity.PIDFD:
            visitor.connection.send(refusal(unknown_caller()))
            visitor.connection.finish()


class _Attached:
    """An enclave, and who it is: the first process of a pid namespace, both held open so that neither is given away."""

    def __init__(self, around: Surroundings, enclave: Enclave, first: int) -> None:
        self.name = entropy.identifier()
        self.enclave = enclave
        self._namespace = identity.open_pid_namespace(first)
        self.first = os.dup(first)
        self.door = Door(around.selector, enclave, identity.Namespace.of(self._namespace))

    def close(self) -> None:
        """Give everything back."""
        self.door.close()
        os.close(self._namespace)
        os.close(self.first)
        self.enclave.remove()


class Visitor:
    """A connection that was made before there was an enclave; after `attach` it is served as any other."""

    what = "allocation"
    limit = CONTROL_LIMIT  # a manifest is longer than a frame of an enclave's socket

    def __init__(self, allocation: Allocation, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        self._allocation = allocation
        self._door: Door | None = None
        self._first = -1  # pidfd of the sender
        self._own: identity.Namespace | None = None  # and its pid namespace
        self.connection = Connection(selector, sock, self)

    @property
    def attached(self) -> bool:
        """Whether it is served as the enclave."""
        return self._door is not None

    def check(self, who: identity.Credentials) -> None:
        """Only the first process of a pid namespace of its own may attach; see `identity.check_first`."""
        if self._door is not None:
            self._door.check(who)
            return
        own = identity.check_first(who)
        if self._own is None and who.pidfd is not None:
            self._first, self._own = os.dup(who.pidfd), own
        elif own != self._own:
            raise Denied("caller-outside", "One request came from two containers.", "Ask from one process.")

    def message(self, connection: Connection, message: Message, passed: list[int]) -> None:
        """Attach, then answer."""
        if self._door is not None:
            self._door.message(connection, message, passed)
            return
        self._door = self._allocation.attach(Attach.parse(message), self._first)
        connection.send(answer("mrenclave", self._door.mrenclave))

    def closed(self) -> None:
        """The enclave stays as long as its first process does."""
        if self._first >= 0:
            os.close(self._first)
            self._first = -1


def _listener(passed: Sequence[int]) -> socket.socket:
    if len(passed) == 1:
        try:
            sock = socket.socket(fileno=os.dup(passed[0]))
        except OSError:
            raise _no_listener() from None
        if _listens(sock):
            return sock
        sock.close()
    raise _no_listener()


def _listens(sock: socket.socket) -> bool:
    accepts: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM and bool(accepts)


def _no_listener() -> Malformed:
    return Malformed("allocation-socket", "An allocation takes one descriptor: its listening Unix stream socket.")
