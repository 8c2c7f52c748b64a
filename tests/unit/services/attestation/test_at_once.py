"""What comes whole is answered at once, what comes in parts by ASGI: nobody can tell by the answer."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.tokens import Jws
from kloister.formats.wire import b64url
from kloister.services.attestation import listening, rest
from kloister.services.attestation.heads import Head
from kloister.services.attestation.limits import RateLimit
from kloister.services.attestation.listening import AttestationProtocol
from kloister.services.broker import listeners
from tests.support.attestation import AAD, PERMIT, client_data, running, served, settings, sgx_quote

DATA = b"data of a client"
BODY: dict[str, Any] = {"quote": b64url(sgx_quote(DATA)), "runtimeData": client_data(DATA)}
TARGET = "/attest/SgxEnclave?api-version=2020-10-01"
NAMED = "x-ms-client-request-id: 7\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("at-once")
    with served(settings(directory, listen="127.0.0.1:0", limits={"rate": 0, "body": 20_000})) as number:
        yield number


def request(body: dict[str, Any] | bytes = BODY, target: str = TARGET, headers: str = NAMED, host: str = AAD) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = f"Host: {host.removeprefix('https://')}\r\n{headers}Content-Length: {len(data)}\r\n"
    return f"POST {target} HTTP/1.1\r\n{named}\r\n".encode() + data


def connected(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60))


def answer(received: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers, and the body's value; of a token its claims without what is new each time."""
    status = int(received.readline().split()[1])
    headers: dict[str, str] = {}
    while (line := received.readline().decode().strip()) != "":
        name, _, value = line.partition(": ")
        headers[name] = value
    value = json.loads(received.read(int(headers["content-length"])))
    if "token" in value:
        value = Jws.parse(value["token"]).claims
        value = {name: one for name, one in value.items() if name not in {"jti", "exp", "iat", "nbf"}}
        headers.pop("content-length")
    headers.pop("date")
    return status, headers, value


def asked(port: int, *parts: bytes) -> tuple[int, dict[str, str], Any]:
    with connected(port) as connection:
        for number, part in enumerate(parts):
            time.sleep(0.05 if number else 0)
            connection.sendall(part)
        with connection.makefile("rb") as received:
            return answer(received)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (request(), 200),
        (request(headers=""), 200),
        (request(headers=NAMED + "Connection: close\r\n"), 200),
        (request(target="/Attest//sgxenclave/?api-version=2022-08-01"), 200),
        (request(target="/attest/SgxEnclave%3Fa?api-version=2020-10-01"), 404),
        (request({**BODY, "draftPolicyForAttestation": PERMIT}), 200),
        (request({**BODY, "runtimeData": client_data(b"others")}), 400),
        (request(b"{"), 400),
        (request(b"x" * 20_001), 413),
        (request(target="/attest/SgxEnclave"), 400),
        (request(target="/attest/nothing?api-version=2020-10-01"), 404),
        (request(target="/attest/AzureGuest?api-version=2020-10-01"), 400),
        (request(host="https://nobody.attest.test"), 404),
        (request(b"{}", target="/attest/Tpm?api-version=2020-10-01"), 401),
    ],
)
def test_whole_and_in_parts(port: int, given: bytes, status: int) -> None:
    end = given.index(b"\r\n\r\n") + 4
    whole, apart = asked(port, given), asked(port, given[:end], given[end:])
    if b"request-id" not in given:
        assert whole[1].pop("x-ms-request-id") != apart[1].pop("x-ms-request-id")
    assert whole == apart
    assert whole[0] == status


@pytest.mark.parametrize("pauses", [[0.0], [0.2], [0.0, 0.0, 0.0], [0.0, 0.2]])
def test_a_body_may_come_after_its_head(port: int, pauses: list[float]) -> None:
    given = request()
    end = given.index(b"\r\n\r\n") + 4
    with connected(port) as connection, connection.makefile("rb") as received:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            connection.sendall(given[:end])
            for number, pause in enumerate(pauses):
                time.sleep(pause)
                last = number == len(pauses) - 1
                connection.sendall(given[end + number * 100 : None if last else end + number * 100 + 100])
            assert answer(received)[0] == 200
        connection.sendall(given[:end])  # and one that breaks off
    assert asked(port, given)[0] == 200


def test_answers_come_in_the_order_of_the_requests(port: int) -> None:
    drafted = request({**BODY, "draftPolicyForAttestation": PERMIT})
    with connected(port) as connection, connection.makefile("rb") as received:
        for _ in range(2):  # at once, by ASGI, at once where something waits before it; and the connection lives on
            connection.sendall(request() + drafted + request(b"{") + request())
            found = [answer(received) for _ in range(4)]
            assert [one[0] for one in found] == [200, 200, 400, 200]
            assert ["x-ms-policy" in one[2] for one in found] == [True, False, False, True]


def test_a_request_whose_body_is_awaited_at_the_end_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_MOMENT", 300.0)
    monkeypatch.setattr(listeners, "GRACE_SECONDS", 60)
    kept, ending = noted(monkeypatch, "_is_kept"), noted(monkeypatch, "shutdown")
    given = request()
    end = given.index(b"\r\n\r\n") + 4

    def ends(connection: ssl.SSLSocket) -> int:
        with connection, connection.makefile("rb") as received:
            assert ending.wait(60)
            connection.sendall(given[end:])
            return answer(received)[0]

    with ThreadPoolExecutor(1) as pool:
        with served(settings(tmp_path, listen="127.0.0.1:0")) as port:
            connection = connected(port)
            connection.sendall(given[:end])
            assert kept.wait(60)
            late = pool.submit(ends, connection)
        assert late.result() == 200


def noted(monkeypatch: pytest.MonkeyPatch, name: str) -> threading.Event:
    """Set when a connection of the service has done this."""
    done, original = threading.Event(), getattr(AttestationProtocol, name)

    def act(self: AttestationProtocol, *arguments: Any) -> Any:
        found = original(self, *arguments)
        done.set()
        return found

    monkeypatch.setattr(AttestationProtocol, name, act)
    return done


def test_no_connection_outlives_the_service(tmp_path: Path) -> None:
    with served(settings(tmp_path, listen="127.0.0.1:0")) as port:
        connection = connected(port)
        connection.sendall(request())
        assert connection.recv(12) == b"HTTP/1.1 200"
    with socket.socket(fileno=connection.detach()) as bare:  # which has not confirmed the end of TLS
        bare.settimeout(60)
        with contextlib.suppress(ConnectionError):
            while bare.recv(1 << 16):
                pass


def test_the_rate_counts_each_request_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "RateLimit", lambda rate, _: RateLimit(rate, lambda: 0.0))
    drafted = request({**BODY, "draftPolicyForAttestation": PERMIT})
    with served(settings(tmp_path, listen="127.0.0.1:0", limits={"rate": 2})) as port, connected(port) as connection:
        connection.sendall(drafted * 6)
        with connection.makefile("rb") as received:
            found = [answer(received)[0] for _ in range(6)]
    assert found == [200] * 4 + [429] * 2


def test_only_what_needs_no_waiting_is_taken(tmp_path: Path) -> None:
    whole = request()
    head = Head.parse(whole, len(whole))
    assert head is not None
    plain, drafted = whole[head.size :], json.dumps({**BODY, "draftPolicyForAttestation": PERMIT}).encode()
    with running(settings(tmp_path)) as process:
        taken = process.app.at_once(head, "192.0.2.1", plain)
        declined = process.app.at_once(head, "192.0.2.1", drafted)
    assert taken is not None
    assert (taken[0], declined) == (200, None)
    with running(settings(tmp_path, audit={"attestations": True})) as process:  # which writes
        assert process.app.at_once(head, "192.0.2.1", plain) is None


def test_a_body_that_breaks_off_is_refused(port: int) -> None:
    head = request()[: request().index(b"Content-Length")] + b"Transfer-Encoding: chunked\r\n\r\n"
    data = json.dumps(BODY).encode()
    whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    assert asked(port, head + whole) == asked(port, request())
    with connected(port) as connection:
        connection.sendall(head + b"%x\r\n%bno chunk\r\n" % (len(data), data))
        with connection.makefile("rb") as received:
            assert b" 400 " in received.readline()
            assert received.read().endswith(b"Invalid HTTP request received.")
    assert asked(port, request())[0] == 200
