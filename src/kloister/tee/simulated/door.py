"""The enclave's sockets: the inherited one and the named one, answered for the enclave's own processes alone."""

from __future__ import annotations

import selectors
import socket

from kloister.errors import Denied
from kloister.formats.protocol import tee
from kloister.formats.protocol.frames import TEE_LIMIT
from kloister.tee.simulated.connection import Connection, Message
from kloister.tee.simulated.identity import Credentials, Namespace, check
from kloister.tee.simulated.ports import Enclave

_MOST_CONNECTIONS = 64  # open connections of one enclave; a process asks and closes


class Door:
    """Serves one enclave from the moment its pid namespace is known.

    Args:
        selector: the daemon's loop.
        enclave: whose quotes, reports and keys are handed out.
        own: the enclave's pid namespace, or None where the kernel does not name senders: then the inherited socket
            alone is answered.
    """

    what = "tee"
    limit = TEE_LIMIT

    def __init__(self, selector: selectors.BaseSelector, enclave: Enclave, own: Namespace | None) -> None:
        self._selector = selector
        self._enclave = enclave
        self._own = own
        self._connections: list[Connection] = []
        self._listener: socket.socket | None = None

    @property
    def mrenclave(self) -> bytes:
        """Of the enclave that is served, 32 bytes."""
        return self._enclave.mrenclave

    def serve(self, inherited: socket.socket) -> None:
        """Answer the enclave's end of the inherited pair; the socket is owned from now on."""
        self._connections.append(Connection(self._selector, inherited, self))

    def admit(self, sock: socket.socket) -> None:
        """Answer a connection that was accepted; the socket is owned from now on."""
        self._connections = [connection for connection in self._connections if connection.open]
        if len(self._connections) >= _MOST_CONNECTIONS:
            sock.close()
            return
        connection = Connection(self._selector, sock, self)
        self._connections.append(connection)
        if self._own is None:
            connection.send(tee.refusal(unknown_caller()))
            connection.finish()

    def listen(self, listener: socket.socket) -> None:
        """Answer connections to the named socket; the socket is owned from now on."""
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """End all connections."""
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            connection.close()
        self._connections = []

    def check(self, who: Credentials) -> None:
        """Refuse everyone outside the enclave; see `identity.check`."""
        if self._own is not None:
            check(who, self._own)
        elif who.passed:
            raise Denied("caller-descriptors", "A descriptor was passed on an enclave's socket.", "Send messages only.")

    def message(self, connection: Connection, message: Message, passed: list[int]) -> None:
        """Answer one request."""
        del passed  # `check` refuses descriptors
        connection.send(self._answer(tee.parse_request(message)))

    def closed(self) -> None:
        """Forget nothing here: closed connections are swept when the next one comes."""

    def _answer(self, request: tee.Request) -> Message:
        match request:
            case tee.QuoteRequest(report_data):
                return tee.answer("quote", self._enclave.quote(report_data))
            case tee.ReportRequest(target_info, report_data):
                return tee.answer("report", self._enclave.report(target_info, report_data))
            case tee.TargetInfoRequest():
                return tee.answer("targetInfo", self._enclave.target_info())
            case tee.KeyRequest(wanted):
                return tee.answer("key", self._enclave.key(wanted))

    def _accept(self, _events: int) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        self.admit(sock)


def unknown_caller() -> Denied:
    """The refusal of everybody, where the kernel does not say who connects."""
    return Denied(
        "caller-unknown",
        "This kernel does not say who connects, so only the socket that the first process inherits is answered.",
        "Run on Linux 6.5 or newer.",
    )
