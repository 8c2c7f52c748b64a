"""The control socket: the owner's questions and launches."""

from __future__ import annotations

import selectors
import socket
import struct
from collections.abc import Callable
from typing import Any

from kloister import clock
from kloister.errors import Denied, KloisterError, Malformed
from kloister.formats.protocol import events, platform
from kloister.formats.protocol.allocations import Allocate, Release
from kloister.formats.protocol.frames import CONTROL_LIMIT
from kloister.formats.protocol.quoting import QuoteReport, ReportContent
from kloister.formats.protocol.tee import refusal
from kloister.formats.wire import b64url
from kloister.tee.simulated.allocations import Allocations
from kloister.tee.simulated.connection import Connection, Message
from kloister.tee.simulated.framing import close_all
from kloister.tee.simulated.identity import Credentials
from kloister.tee.simulated.launch import Launch, Surroundings

_MOST_CONNECTIONS = 256  # at once: enclaves of one machine and some questions
_UCRED = struct.Struct("3i")  # struct ucred, unix(7): pid, uid, gid


class Control:
    """Accepts connections on the control socket, from the state's owner and root alone.

    Args:
        around: what launches share.
        listener: the listening control socket, owned from now on.
        allowed: uids that may ask.
        status: the figures of `status`.
    """

    def __init__(
        self,
        around: Surroundings,
        listener: socket.socket,
        allowed: frozenset[int],
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self.around = around
        self.allocations = Allocations(around)
        self.status = status
        self._allowed = allowed
        self._listener = listener
        self._clients: list[Client] = []
        listener.setblocking(False)
        around.selector.register(listener, selectors.EVENT_READ, self._accept)

    @property
    def launches(self) -> list[Launch]:
        """Enclaves that exist now."""
        return [client.launch for client in self._clients if client.launch is not None]

    def close(self) -> None:
        """Take no more connections and kill every enclave."""
        self.around.selector.unregister(self._listener)
        self._listener.close()
        for client in list(self._clients):
            client.connection.close()
        self.allocations.close()

    def forget(self, client: Client) -> None:
        """A client is gone."""
        self._clients.remove(client)

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        self._make_place()
        if len(self._clients) >= _MOST_CONNECTIONS:
            sock.close()
            return
        client = Client(self, sock)
        self._clients.append(client)
        if uid not in self._allowed:
            client.connection.send(refusal(_not_owner()))
            client.connection.finish()

    def _make_place(self) -> None:
        """Where all places are taken, drop the oldest connection that has not asked anything yet."""
        if len(self._clients) >= _MOST_CONNECTIONS:
            idle = next((client for client in self._clients if not client.asked), None)
            if idle is not None:
                idle.connection.close()


class Client:
    """One connection: one question, quotes for reports one after another, or one launch and its signals."""

    what = "platform"
    limit = CONTROL_LIMIT

    def __init__(self, control: Control, sock: socket.socket) -> None:
        self.launch: Launch | None = None
        self.asked = False
        self._control = control
        self.connection = Connection(control.around.selector, sock, self)

    def check(self, who: Credentials) -> None:
        """Who connected was checked when the connection was accepted."""

    def message(self, connection: Connection, message: Message, passed: list[int]) -> None:
        """Serve the request, or pass a signal on."""
        if self.launch is not None:
            close_all(passed)
            self.launch.signal(platform.parse_signal(message))
            return
        more = False
        try:
            self.asked = True
            request = platform.parse_request(message)
            more = isinstance(request, QuoteReport)
            self._serve(connection, request, passed)
        except KloisterError as error:
            connection.send(refusal(error))
        finally:
            close_all(passed)
            if self.launch is None and not more:
                connection.finish()

    def closed(self) -> None:
        """The client left: its enclave ends with it."""
        if self.launch is not None:
            self.launch.kill()
        self._control.forget(self)

    def _serve(self, connection: Connection, request: platform.Request, passed: list[int]) -> None:
        if isinstance(request, platform.Launch):
            self._launch(request, passed)
        elif isinstance(request, Allocate):
            self._control.allocations.add(request, passed)
            connection.send({"allocated": request.id})
        elif passed:
            raise Malformed("platform-descriptors", "Only a launch and an allocation take descriptors.")
        elif isinstance(request, Release):
            self._control.allocations.release(request.id)
            connection.send({"released": request.id})
        elif isinstance(request, platform.QuoteContent):
            quote = self._control.around.platform.quote_content(request.content, request.report_data)
            connection.send({"quote": b64url(quote)})
        elif isinstance(request, QuoteReport):
            connection.send(self._control.around.platform.quote_report(request).build())
        elif isinstance(request, ReportContent):
            connection.send({"report": b64url(self._control.around.platform.report_content(request))})
        else:
            connection.send(self._answer(request.op))

    def _answer(self, op: str) -> Message:
        if op == "root":
            return {"root": b64url(self._control.around.platform.root())}
        if op == "allocations":
            return {"allocations": [allocation.build() for allocation in self._control.allocations]}
        if op == "qeTargetInfo":
            return self._control.around.platform.qe_info().build()
        if op in ("collateral", "earlyCollateral"):
            early = op == "earlyCollateral"
            return {"collateral": self._control.around.platform.collateral(clock.now(), early=early)}
        return {"status": self._control.status()}

    def _launch(self, request: platform.Launch, passed: list[int]) -> None:
        launch = Launch(self._control.around, self._report, self._over)
        try:
            self.launch = launch
            launch.begin(request, passed)
        except KloisterError as error:
            self._report(events.Refused(error.code, error.text, error.hint))

    def _report(self, event: events.Event) -> None:
        self.connection.send(event.build())
        if isinstance(event, events.LAST):
            self.connection.finish()

    def _over(self, launch: Launch) -> None:
        if self.launch is launch:
            self.launch = None


def _not_owner() -> Denied:
    return Denied(
        "peer-not-owner",
        "The platform answers the user who owns its state, and root.",
        "Run the command as that user, or use a state of your own with --state DIR.",
    )
