"""The broker as a process, beside a simulated platform: what a workload, its owner, a stranger and a web page get."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kloister.client.admin import AdminClient, RemoteAdminClient, _UnixConnection
from kloister.client.release import Purpose, request_release
from kloister.client.tls import Connection
from kloister.errors import Denied, KloisterError, Misconfigured, Unavailable
from kloister.formats.dcap import Quote
from kloister.formats.protocol.bundle import Bundle
from kloister.formats.protocol.release import CHALLENGE_PATH, RELEASE_PATH, Challenge, ChallengeRequest, ReleaseRequest
from kloister.formats.protocol.release import public_key as guest_key
from kloister.serve.broker import run
from kloister.serve.looking import look
from kloister.serve.stack import down, up
from kloister.serve.state import State
from kloister.services.broker.listeners import REST_SECONDS
from kloister.tee.simulated.client import PlatformClient
from tests.support.broker import document
from tests.support.ports import free_port

CONTENT = b"the workload"
PRIVATE = bytes(range(32))


class Running:
    """A stack, and what a workload does with it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.admin = AdminClient(state.admin)
        self.platform = PlatformClient(state.control)

    @property
    def address(self) -> str:
        return look(self.state).address

    @property
    def ca(self) -> str:
        return self.state.ca.read_text()

    def apply(self) -> None:
        measured = Quote.parse(self.platform.quote_content(CONTENT, bytes(64))).report.mrenclave
        value = document("attestation.any.0.sgx.mrenclave", measured.hex())
        self.admin.apply(json.dumps(value).encode())
        self.admin.set_secret("clinic", "inference", "licence", b"licence")

    def ask(self, content: bytes = CONTENT, service: str = "app") -> Bundle:
        purpose = Purpose("clinic", "inference", service, "instance-1")
        return request_release(
            self.address, self.ca, purpose, PRIVATE, lambda data: self.platform.quote_content(content, data)
        )


@pytest.fixture(scope="module")
def stack() -> Iterator[Running]:
    directory = Path(tempfile.mkdtemp(prefix="kloister-broker-"))
    state = State.at(directory)
    up(state, f"127.0.0.1:{free_port()}")
    running = Running(state)
    running.apply()
    yield running
    down(state)
    shutil.rmtree(directory)


def test_a_workload_gets_its_secrets_over_tls(stack: Running) -> None:
    bundle = stack.ask()
    assert bundle.arguments == ("serve", "--licence=licence")
    with pytest.raises(Denied) as caught:
        stack.ask(b"another")
    assert caught.value.code == "measurement-not-allowed"
    assert "kloister explain" in caught.value.hint
    identifier = caught.value.hint.rpartition(" ")[2]
    assert stack.admin.refusal(identifier)["conditions"][0]["path"] == "attestation.any[0].sgx.mrenclave"
    assert stack.ask().environment == bundle.environment


def test_a_quote_may_take_its_time(stack: Running) -> None:
    """Between the challenge and the evidence the connection rests, longer than servers let connections rest."""

    def slow(data: bytes) -> bytes:
        time.sleep(REST_SECONDS + 1)
        return stack.platform.quote_content(CONTENT, data)

    purpose = Purpose("clinic", "inference", "app", "instance-1")
    bundle = request_release(stack.address, stack.ca, purpose, PRIVATE, slow)
    assert bundle.arguments == stack.ask().arguments


def test_a_recorded_exchange_is_refused_when_replayed(stack: Running) -> None:
    connection = Connection(stack.address, stack.ca, 60)
    asked = ChallengeRequest("clinic", "inference").build()
    nonce = Challenge.parse(connection.post(CHALLENGE_PATH, asked, 10000)[1]).nonce
    names = ("clinic", "inference", "app", "i")
    request = ReleaseRequest(nonce, *names, key=guest_key(PRIVATE), quote=b"")
    data = request.binding(connection.peer_key).report_data()
    recorded = replace(request, quote=stack.platform.quote_content(CONTENT, data)).build()
    assert connection.post(RELEASE_PATH, recorded, 1 << 20)[0] == 200
    status, answer = connection.post(RELEASE_PATH, recorded, 1 << 20)
    connection.close()
    assert (status, json.loads(answer)["error"]["code"]) == (403, "nonce-unknown")


def test_a_kill_loses_nothing_and_the_stale_socket_is_replaced(stack: Running) -> None:
    before, key = stack.ask(), stack.state.ca.read_text()
    head = stack.admin.audit(0)["head"]["sequence"]
    broker = look(stack.state).broker
    assert broker is not None
    os.kill(broker.pid, signal.SIGKILL)
    while broker.of(broker.pid) == broker:
        time.sleep(0.01)
    assert stack.state.admin.exists()
    with pytest.raises(Unavailable) as caught:
        stack.admin.status()
    assert caught.value.code == "broker-unreachable"
    up(stack.state)
    assert stack.ask().environment == before.environment
    assert stack.state.ca.read_text() == key
    assert stack.admin.audit(0)["head"]["sequence"] == head + 1


def test_files_are_for_the_owner_alone(stack: Running) -> None:
    directory = stack.state.broker
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_ISSOCK(stack.state.admin.stat().st_mode)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert {"root.key", "ca.key", "tls.key", "broker.db", "admin.sock"} <= modes.keys()


def raw(
    stack: Running, method: str = "GET", path: str = "/status", body: bytes = b"", **headers: str
) -> tuple[int, Any]:
    with contextlib.closing(_UnixConnection(stack.state.admin)) as connection:
        connection.putrequest(method, f"/admin/v1{path}", skip_host=True)
        for name, value in {"Host": "kloister", "Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        with contextlib.suppress(ConnectionError):  # the refusal came before all was sent
            connection.endheaders(body)
        with connection.getresponse() as response:
            answer = response.read()
    assert "Access-Control-Allow-Origin" not in response.headers
    return response.status, json.loads(answer) if answer.startswith(b"{") else answer


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "localhost"}, "host-refused"),
        ({"Host": "evil.example"}, "host-refused"),
        ({"Host": ""}, "host-refused"),
        ({"Origin": "http://kloister"}, "origin-refused"),
        ({"Origin": "null"}, "origin-refused"),
        ({"Sec_Fetch_Site": "same-origin"}, "origin-refused"),
    ],
)
def test_a_web_page_cannot_reach_administration(stack: Running, headers: dict[str, str], code: str) -> None:
    assert raw(stack)[0] == 200
    status, answer = raw(stack, "GET", "/status", b"", **headers)
    assert (status, answer["error"]["code"]) == (403, code)
    assert raw(stack)[0] == 200


def test_what_a_form_can_send_is_not_taken_for_a_policy(stack: Running) -> None:
    status, answer = raw(stack, "PUT", "/policies", b"x", Content_Type="text/plain")
    assert (status, answer["error"]["code"]) == (400, "content-type")
    assert raw(stack, "PUT", "/policies", b"x")[1]["error"]["code"] == "content-type"
    assert raw(stack, "POST", "/policies", b"x", Content_Type="application/yaml")[0] == 405
    assert raw(stack, "OPTIONS", "/policies")[0] == 405


def test_bodies_and_heads_are_limited(stack: Running) -> None:
    status, answer = raw(stack, "PUT", "/policies", b"#" * 300_000, Content_Type="application/yaml")
    assert (status, answer["error"]["code"]) == (400, "body-size")
    connection = _UnixConnection(stack.state.admin)
    connection.connect()
    with contextlib.suppress(ConnectionError):  # as above
        connection.sock.sendall(b"GET /admin/v1/status HTTP/1.1\r\nX: " + b"y" * 40_000)
    assert connection.sock.recv(12) == b"HTTP/1.1 400"
    connection.close()
    assert raw(stack, path="/audit?after=x")[1]["error"]["code"] == "audit-after"
    assert raw(stack, path="/none")[0] == 404


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_refused_by_the_kernels_word(stack: Running) -> None:
    program = (
        "import os,socket,sys;user=int(sys.argv[2]);os.setgroups([]);os.setgid(user);os.setuid(user);"
        "s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
        "s.sendall(b'GET /admin/v1/status HTTP/1.1\\r\\nHost: kloister\\r\\n\\r\\n');"
        "data=s.recv(100);sys.stdout.write(data.decode()[:12])"
    )

    def ask(user: int) -> str:
        command = [sys.executable, "-I", "-S", "-c", program, str(stack.state.admin), str(user)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        return result.stdout or result.stderr.strip().splitlines()[-1].partition(":")[0]

    assert ask(0) == "HTTP/1.1 200"
    assert ask(65534) == "PermissionError", "directory and socket are closed to others"
    opened = [(stack.state.root, 0o711), (stack.state.broker, 0o711), (stack.state.admin, 0o666)]
    for path, mode in opened:
        path.chmod(mode)
    try:
        refusals = ("HTTP/1.1 403", "BrokenPipeError", "ConnectionResetError")  # it may hang up before it is asked
        assert ask(65534) in refusals, "and if they were not, the kernel says who asks"
    finally:
        for path, mode in zip((path for path, _ in opened), (0o700, 0o700, 0o600), strict=True):
            path.chmod(mode)
    assert ask(0) == "HTTP/1.1 200"


def release(stack: Running, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
    import ssl

    context = ssl.create_default_context(cadata=stack.ca)
    host, _, port = stack.address.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
    with contextlib.suppress(ConnectionError):  # as in `raw`
        connection.request("POST", CHALLENGE_PATH, body, headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_the_release_interface_takes_json_from_no_browser(stack: Running) -> None:
    good, body = {"Content-Type": "application/json"}, ChallengeRequest("clinic", "inference").build()
    assert release(stack, good, body)[0] == 200
    assert release(stack, {**good, "Origin": "https://localhost"}, body)[1]["error"]["code"] == "origin-refused"
    assert release(stack, {"Content-Type": "text/plain"}, body)[1]["error"]["code"] == "content-type"
    assert release(stack, good, b"{")[1]["error"]["code"] == "challenge-request-json"
    assert release(stack, good, b" " * 200_000)[1]["error"]["code"] == "body-size"
    assert release(stack, good, body)[0] == 200


def test_the_release_interface_has_no_administration(stack: Running) -> None:
    connection = Connection(stack.address, stack.ca, 60)
    assert connection.post("/admin/v1/policies", b"", 1000)[0] == 404
    connection.close()


def test_a_port_in_use_is_said_with_a_remedy(stack: Running, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        run(tmp_path, stack.address)
    assert caught.value.code == "port-in-use"
    assert "ss -ltnp" in caught.value.hint


@pytest.mark.parametrize("address", ["7443", "127.0.0.1:", "127.0.0.1:99999", ":1", "256.256.256.256:1"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        run(tmp_path, address)
    assert caught.value.code == "listen-address"


def test_a_second_broker_of_one_directory_is_refused(stack: Running) -> None:
    with pytest.raises(Misconfigured) as caught:
        run(stack.state.root, "127.0.0.1:0")
    assert caught.value.code == "broker-running"
    assert stack.admin.status()["simulated"] is True


def wait(state: State, process: subprocess.Popen[bytes]) -> None:
    """Until the broker answers."""
    while True:
        assert process.poll() is None
        with contextlib.suppress(Unavailable):
            AdminClient(state.admin).status()
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stopped() -> Iterator[Path]:
    """The state of a broker that ran and was stopped."""
    directory = Path(tempfile.mkdtemp(prefix="kloister-broker-"))
    state = State.at(directory)
    program = (
        "import sys;from pathlib import Path;from kloister.serve.broker import run;run(Path(sys.argv[1]),'127.0.0.1:0')"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(directory)], stderr=subprocess.DEVNULL)
    wait(state, process)
    process.terminate()
    assert process.wait(60) == 0
    assert not state.admin.exists()
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (lambda broker: (broker / "root.key").unlink(), "root-key-missing"),
        (lambda broker: (broker / "root.key").write_bytes(b"short"), "root-key-damaged"),
        (lambda broker: (broker / "root.key").chmod(0o644), "key-exposed"),
        (lambda broker: (broker / "ca.key").unlink(), "key-missing"),
        (lambda broker: (broker / "ca.pem").write_bytes(b"x"), "certificate-damaged"),
        (lambda broker: (broker / "tls.key").write_bytes(b"x"), "key-damaged"),
    ],
)
def test_damaged_state_is_refused_and_not_replaced(
    stopped: Path, tmp_path: Path, action: Callable[[Path], object], code: str
) -> None:
    directory = tmp_path / "copy"
    shutil.copytree(stopped, directory)
    action(directory / "broker")
    before = {path.name: path.read_bytes() for path in (directory / "broker").iterdir()}
    with pytest.raises(KloisterError) as caught:
        run(directory, "127.0.0.1:0")
    assert caught.value.code == code
    assert {path.name: path.read_bytes() for path in (directory / "broker").iterdir()} == before


def test_remote_administration_needs_a_certificate_of_its_own_authority(tmp_path: Path) -> None:
    state, port = State.at(tmp_path), free_port()
    program = (
        "import sys;from pathlib import Path;from kloister.serve.broker import Remote,run;"
        "run(Path(sys.argv[1]),'127.0.0.1:0',Remote('127.0.0.1:'+sys.argv[2],'broker.example'))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(port)], stderr=subprocess.DEVNULL)
    try:
        wait(state, process)

        def client(certificate: str, name: str = "broker.example") -> RemoteAdminClient:
            files = state.broker / f"{certificate}.pem", state.broker / f"{certificate}.key"
            return RemoteAdminClient(f"127.0.0.1:{port}", name, state.ca, *files)

        assert client("admin-client").status()["simulated"] is True
        with pytest.raises(Unavailable):
            client("tls").status()
        with pytest.raises(Unavailable):
            client("admin-client", "localhost").status()
        client("admin-client").apply(json.dumps(document()).encode())
        entry = json.loads(client("admin-client").audit(0)["entries"][0]["body"])
        assert entry["actor"] == "cn:owner"
    finally:
        process.terminate()
        process.wait(60)


def test_the_key_that_quotes_bind_is_that_of_the_certificate(stack: Running) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    connection = Connection(stack.address, stack.ca, 60)
    certificate = x509.load_pem_x509_certificate((stack.state.broker / "tls.pem").read_bytes())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert connection.peer_key == hashlib.sha256(spki).digest()
    connection.close()
