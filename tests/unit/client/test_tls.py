from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kloister.client.tls import Connection, subject_public_key_info
from kloister.errors import KloisterError, Malformed, Misconfigured, Unavailable, Unverified
from tests.unit.client.tls_server import Authority, answer, make_authority, serve


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("broker"))


def post(address: str, ca: str, *, seconds: float = 60, limit: int = 1000) -> tuple[int, bytes]:
    connection = Connection(address, ca, seconds)
    try:
        return connection.post("/path", b"{}", limit)
    finally:
        connection.close()


def test_the_pinned_broker_answers(broker: Authority) -> None:
    with serve(broker, lambda _, body: answer(200, b"got " + body)) as server:
        assert post(server.address, broker.ca) == (200, b"got {}")
    assert server.seen == [("/path", b"{}")]


def test_the_peer_key_is_that_of_the_leaf(broker: Authority) -> None:
    with serve(broker, lambda _p, _b: answer(200, b"")) as server:
        connection = Connection(server.address, broker.ca, 60)
        assert connection.peer_key == broker.broker_key
        connection.close()


def test_another_authority_is_an_impostor_and_gets_no_byte(broker: Authority, tmp_path: Path) -> None:
    with (
        serve(make_authority(tmp_path), lambda _p, _b: answer(200, b"")) as server,
        pytest.raises(Unverified) as caught,
    ):
        post(server.address, broker.ca)
    assert caught.value.code == "broker-impostor"
    assert server.seen == []


def test_nobody_listens(broker: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unavailable) as caught:
        post(address, broker.ca)
    assert caught.value.code == "broker-unreachable"


def test_a_server_without_tls_is_unreachable(broker: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable) as caught:
        post(f"127.0.0.1:{silent.getsockname()[1]}", broker.ca, seconds=0.3)
    assert caught.value.code == "broker-unreachable"


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nshort"])
def test_a_connection_cut_inside_a_response(broker: Authority, response: bytes) -> None:
    with (
        serve(broker, lambda _p, _b: response) as server,
        pytest.raises(Unavailable) as caught,
    ):
        post(server.address, broker.ca)
    assert caught.value.code == "broker-unreachable"


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 403 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 403 OK\r\nContent-Length: -1\r\n\r\nx",
        b"HTTP/1.1 403 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 403 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 403 OK\r\nContent-Length: 1\r\n\r\nxx",
        b"HTTP/1.1 403 OK\r\n" + b"X: " + b"y" * 40000,
    ],
)
def test_what_is_not_our_http_is_malformed(broker: Authority, response: bytes) -> None:
    with serve(broker, lambda _p, _b: response) as server, pytest.raises(Malformed) as caught:
        post(server.address, broker.ca)
    assert caught.value.code == "broker-response"


def test_a_slow_response_ends_at_the_deadline(broker: Authority) -> None:
    given_up = threading.Event()

    def slowly(_path: str, _body: bytes) -> bytes:
        given_up.wait(60)
        return answer(200, b"")

    with serve(broker, slowly) as server:
        try:
            with pytest.raises(Unavailable) as caught:
                post(server.address, broker.ca, seconds=0.4)
        finally:
            given_up.set()
    assert caught.value.code == "broker-unreachable"


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", ":1", "host:0", "host:65536", "host:99999999999", "h\u00f6st:1", "ho\nst:1", "h:+1"],
)
def test_addresses_that_are_none(broker: Authority, address: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Connection(address, broker.ca, 1)
    assert caught.value.code == "broker-address"


@pytest.mark.parametrize("ca", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_an_authority_that_is_none(ca: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Connection("127.0.0.1:1", ca, 1)
    assert caught.value.code == "broker-ca"


def test_the_public_key_is_what_another_parser_finds(broker: Authority) -> None:
    wanted = broker.leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert subject_public_key_info(broker.leaf.public_bytes(Encoding.DER)) == wanted


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_damaged_certificate_never_gives_another_error(broker: Authority, data: st.DataObject) -> None:
    der = bytearray(broker.leaf.public_bytes(Encoding.DER))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(der)))
    try:
        found = subject_public_key_info(bytes(der[:cut]))
    except Malformed:
        return
    assert hashlib.sha256(found).digest()


def test_a_certificate_without_a_key_is_malformed() -> None:
    empty = b"\x30\x0e\x30\x0c" + b"\x02\x00" * 6
    with pytest.raises(KloisterError) as caught:
        subject_public_key_info(empty)
    assert caught.value.code == "certificate-der"
