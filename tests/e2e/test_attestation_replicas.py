"""Two replicas on one PostgreSQL behind a round robin; one is killed under load."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPException, HTTPSConnection
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.tokens import Jws
from kloister.formats.tokens.policy import policy_token
from kloister.formats.wire import b64url
from tests.support import postgresql
from tests.support.attestation import BEARER, sgx_quote
from tests.support.attestation_process import Service, configured, started
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e
VERSION = "api-version=2022-08-01"
RUNTIME = b"what the client says"
CLIENTS = 4
EACH = 5  # policies before the kill, and as many after it


def numbered(number: int) -> str:
    """A policy that issues a number."""
    issue = f'=> issue(type="number", value={number});'
    return policy_token(f"version=1.0; authorizationrules{{=> permit();}}; issuancerules{{{issue}}};")


class RoundRobin:
    """Gives connections to the replicas in turn, passing over those that refuse; bytes go through unread."""

    def __init__(self, port: int, replicas: list[int]) -> None:
        self._listening = socket.create_server(("127.0.0.1", port), backlog=128)
        self._replicas = replicas
        self._turn = count()
        self._threads: list[threading.Thread] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        accepting = threading.Thread(target=self._accept)
        accepting.start()
        try:
            yield
        finally:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            accepting.join()
            for thread in self._threads:
                thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listening.accept()[0]
            except OSError:
                return
            thread = threading.Thread(target=self._carry, args=(client,))
            thread.start()
            self._threads.append(thread)

    def _carry(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), self._connect() as replica:
            pairs = {client: replica, replica: client}
            while True:
                for sock in select.select(list(pairs), [], [])[0]:
                    data = sock.recv(65536)
                    if not data:
                        return
                    pairs[sock].sendall(data)

    def _connect(self) -> socket.socket:
        first = next(self._turn)
        for number in range(len(self._replicas)):
            with contextlib.suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", self._replicas[(first + number) % len(self._replicas)]))
        raise ConnectionRefusedError


@dataclass
class Caller:
    """A client that keeps its connection, and asks again on another one where it broke off."""

    port: int
    context: ssl.SSLContext
    broken: int = 0
    connection: HTTPSConnection | None = field(default=None, repr=False)

    def ask(self, method: str, path: str, body: str = "") -> tuple[int, Any]:
        """An answer, whoever gives it."""
        while True:
            try:
                self.connection = self.connection or HTTPSConnection(
                    "localhost", self.port, context=self.context, timeout=60
                )
                self.connection.request(method, f"{path}?{VERSION}", body, {"Authorization": f"Bearer {BEARER}"})
                answer = self.connection.getresponse()
                return answer.status, json.loads(answer.read())
            except (OSError, HTTPException):
                self.broken += 1
                self.close()

    def close(self) -> None:
        """End the connection; the next request takes another one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


@dataclass
class Load:
    """Clients that attest without a pause; what they see is judged by the policy last answered before they asked."""

    caller: Callable[[], Caller]
    answered: int = 0  # the number of the last policy whose change was answered
    tokens: int = 0
    wrong: list[Any] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._attest) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def goes_on(self) -> None:
        """Wait until every client can have had another token."""
        enough, deadline = self.tokens + 2 * CLIENTS, time.monotonic() + 120
        while self.tokens < enough:
            assert time.monotonic() < deadline, self.tokens
            time.sleep(0.02)

    def _attest(self) -> None:
        caller = self.caller()
        data = {"data": b64url(RUNTIME), "dataType": "Binary"}
        good = json.dumps({"quote": b64url(sgx_quote(RUNTIME)), "runtimeData": data})
        bad = json.dumps({"quote": b64url(sgx_quote(b"other")), "runtimeData": data})
        while not self.over.is_set():
            least = self.answered
            status, answer = caller.ask("POST", "/attest/SgxEnclave", good)
            number = Jws.parse(answer["token"]).claims["number"] if status == 200 else -1
            if not least <= number <= self.answered + 1:
                self.wrong.append((status, answer, number, least))
            self.tokens += 1
            status, answer = caller.ask("POST", "/attest/SgxEnclave", bad)
            if status != 400 or answer["error"]["innererror"]["code"] != "client-data-binding":
                self.wrong.append((status, answer))
            if self.tokens % 5 == 0:
                caller.close()  # so that connections come to both replicas
        caller.close()

    def change(self, caller: Caller) -> str:
        """Set the next policy; its token."""
        token = numbered(self.answered + 1)
        status, answer = caller.ask("PUT", "/policies/SgxEnclave", token)
        assert status == 200, answer
        self.answered += 1
        status, answer = caller.ask("GET", "/policies/SgxEnclave")
        assert Jws.parse(answer["token"]).claims["x-ms-policy"] == token
        caller.close()
        return token


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql.running() as server:
        yield server.database(by_socket=True)


def test_a_killed_replica_loses_nothing_and_nobody_is_told_anything_wrong(tmp_path: Path, database: str) -> None:
    port = free_port()
    configured(tmp_path, port)  # the name of the instance is the round robin's
    ports = [free_port(), free_port()]
    options = ("--database", database, "--limits-rate", "0", "--logs-requests", "false")
    with started(tmp_path, ports[0], *options) as first, started(tmp_path, ports[1], *options) as second:
        load = Load(lambda: Caller(port, first.tls()))
        writer = load.caller()
        with RoundRobin(port, ports).running():
            tokens = [load.change(writer)]
            with load.running():
                tokens += [load.change(writer) for _ in range(EACH)]
                first.process.kill()  # SIGKILL
                tokens += [load.change(writer) for _ in range(EACH)]
                load.goes_on()
            writer.close()
        assert first.process.wait() == -9
        assert load.wrong == []
        assert load.tokens > CLIENTS
        assert _set(second) >= {b64url(sha256(token.encode()).digest()) for token in tokens}


def _set(service: Service) -> set[str]:
    """Hashes of all policies that the audit log says were set."""
    log = service.ask("GET", "/v1/audit")[1]
    assert log["headIsGenuine"]
    bodies = [json.loads(entry["body"]) for entry in log["entries"]]
    return {body["sha256"] for body in bodies if body["event"] == "policy-set"}
