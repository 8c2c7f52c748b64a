"""The daemon from outside: its control socket, the life of an enclave, and what it survives."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kloister import clock
from kloister.errors import Denied, KloisterError, Unavailable
from kloister.formats.protocol import events, platform, quoting
from kloister.formats.protocol.host import Host
from kloister.tee.simulated import framing, identity
from kloister.tee.simulated.client import PlatformClient
from tests.unit.tee.simulated.stage import (
    EPC,
    NOBODY,
    Guest,
    Stage,
    in_child,
    make_pack,
    require_namespaces,
    running,
)
from tests.unit.tee.simulated.worker import DATA


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running(tmp_path / "platform") as stage:
        yield stage


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return make_pack(tmp_path / "pack")


@pytest.fixture
def _namespaces() -> None:
    require_namespaces()


def test_status_says_what_it_is(stage: Stage) -> None:
    status = stage.client.status()
    assert status["simulated"] is True
    assert status["identity"] == identity.mechanism()
    assert status["pid"] == stage.pid
    assert (status["epcUsed"], status["epcTotal"], status["enclaves"]) == (0, EPC, [])
    assert any("one user" in sentence for sentence in status["notHeld"])


def test_root_collateral_and_content_quotes(stage: Stage) -> None:
    assert stage.client.root() == b"a root"
    assert set(stage.client.collateral()) == {"now"}
    assert set(stage.client.collateral(early=True)) == {"now", "early"}
    quote = stage.client.quote_content(b"content", DATA)
    assert quote.endswith(DATA)
    assert quote != stage.client.quote_content(b"content!", DATA)


def test_nobody_answers_where_no_daemon_is(tmp_path: Path) -> None:
    for path in (tmp_path / "control.sock", tmp_path / "missing" / "control.sock"):
        with pytest.raises(Unavailable) as refused:
            PlatformClient(path).status()
        assert refused.value.code == "platform-unreachable"
        assert "kloister up" in refused.value.hint


def talk(stage: Stage, data: bytes, passed: tuple[int, ...] = ()) -> dict[str, Any] | None:
    """What the daemon answers to raw bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(stage.path / "control.sock"))
        sock.settimeout(60)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(passed)}i", *passed))] if passed else []
        sock.sendmsg([data], ancillary)
        sock.shutdown(socket.SHUT_WR)
        received = framing.Reader(sock, "test").receive()
    return received[0] if received else None


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"{]"), "platform-json"),
        (frame(b"[]"), "platform-message"),
        (frame(b'{"op":"status","op":"root"}'), "platform-json"),
        (frame(b'{"op":"fuses"}'), "platform-op"),
        (frame(b'{"op":"launch"}'), "platform-host"),
        (frame(b"[" * 100_000), "platform-json"),
        (b"\xff\xff\xff\xff", "platform-size"),
        (b"\0\0\0\0", "platform-size"),
    ],
)
def test_malformed_requests_are_answered_and_survived(stage: Stage, data: bytes, code: str) -> None:
    answer = talk(stage, data)
    assert answer is not None
    assert answer["error"]["code"] == code
    assert stage.client.status()["pid"] == stage.pid


def test_a_truncated_request_is_survived(stage: Stage) -> None:
    assert talk(stage, b"\0\0\0\x09{") is None
    assert stage.client.status()["pid"] == stage.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="the daemon shows its descriptors to nobody but root")
def test_descriptors_without_use_are_refused_and_closed(stage: Stage) -> None:
    before = len(list(Path(f"/proc/{stage.pid}/fd").iterdir()))
    answer = talk(stage, frame(b'{"op":"status"}'), (0, 1))
    assert answer is not None
    assert answer["error"]["code"] == "platform-descriptors"
    assert talk(stage, b"\0", (0, 1)) is None
    assert stage.client.status()["pid"] == stage.pid
    deadline = clock.monotonic() + 60
    while len(list(Path(f"/proc/{stage.pid}/fd").iterdir())) != before:
        assert clock.monotonic() < deadline, "the daemon keeps what it refused"
        select.select([], [], [], 0.01)


def test_many_silent_connections_do_not_lock_the_owner_out(stage: Stage) -> None:
    silent = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(300)]
    try:
        for sock in silent:
            sock.connect(str(stage.path / "control.sock"))
        assert stage.client.status()["pid"] == stage.pid
    finally:
        for sock in silent:
            sock.close()


def test_another_user_is_refused() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o755)
        with running(Path(base) / "platform") as stage:
            answer = lambda: _code(stage.client.status)  # noqa: E731
            assert in_child(answer, NOBODY) == "platform-unreachable", "the directory and the socket are private"
            stage.path.chmod(0o755)
            (stage.path / "control.sock").chmod(0o666)
            assert in_child(answer, NOBODY) == "peer-not-owner", "and the daemon looks, too"
            assert in_child(answer) == "fine"


def _code(action: Callable[[], Any]) -> str:
    try:
        action()
    except KloisterError as error:
        return error.code
    return "fine"


@pytest.mark.usefixtures("_namespaces")
def test_the_life_of_an_enclave(stage: Stage, pack: Path) -> None:
    with Guest(stage, pack, instance="one") as guest:
        assert guest.ask("ask")["quote"]
        status = stage.client.status()
        assert status["enclaves"] == [{"enclave": guest.name, "mrenclave": guest.mrenclave.hex()}]
        assert status["epcUsed"] == 1 << 20
        guest.tell("exit", status=7)
        assert guest.until(events.Exited) == events.Exited(7)
        assert events.Log("one: 8 bytes") in guest.seen
        assert any(isinstance(event, events.Phase) and event.name == "enclave" for event in guest.seen)
    status = stage.client.status()
    assert (status["enclaves"], status["epcUsed"]) == ([], 0)
    assert not guest.socket.parent.exists()


@pytest.mark.usefixtures("_namespaces")
def test_signals_reach_the_application(stage: Stage, pack: Path) -> None:
    with Guest(stage, pack) as guest:
        assert guest.ask("ask")["quote"]
        guest.launch.signal(signal.SIGTERM)
        assert guest.hear() == {"signal": "SIGTERM"}
        with pytest.raises(Denied) as refused:
            _signal_wrongly(guest)
        assert refused.value.code == "platform-number"
        assert guest.ask("ask")["quote"]
        guest.events = iter(guest.launch)
        guest.launch.signal(signal.SIGKILL)
        assert guest.until(events.Exited) == events.Exited(None, 9)


def _signal_wrongly(guest: Guest) -> None:
    guest.launch.signal(65)
    guest.until(events.Exited)


@pytest.mark.usefixtures("_namespaces")
def test_a_client_that_leaves_takes_its_enclave_along(stage: Stage, pack: Path) -> None:
    guest = Guest(stage, pack)
    assert guest.ask("ask")["quote"]
    guest.launch.close()
    assert guest._lines.readline() == "", "its processes have ended"
    guest.close()
    assert stage.client.status()["epcUsed"] == 0


@pytest.mark.usefixtures("_namespaces")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_ends_takes_its_enclaves_along(tmp_path: Path, pack: Path, number: int) -> None:
    with running(tmp_path / "platform") as stage:
        guest = Guest(stage, pack)
        assert guest.ask("ask")["quote"]
        assert stage.stop(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        assert guest._lines.readline() == ""
        with pytest.raises(Unavailable) as refused:
            guest.until(events.Exited)
        assert refused.value.code in {"platform-gone", "peer-gone"}
        guest.close()
    with running(tmp_path / "platform") as stage, Guest(stage, pack) as guest:
        assert guest.ask("ask")["quote"], "the next daemon works on what the killed one left"


def refusal(stage: Stage, pack: Path, **changes: Any) -> str:
    """The code that a launch is refused with."""
    request: dict[str, Any] = {"manifest": b"m", "sigstruct": bytes(1808), "host": Host(), "debug": False, **changes}
    with stage.client.launch(request.pop("manifest"), request.pop("sigstruct"), pack, **request) as launch:
        last = list(launch)[-1]
    assert isinstance(last, events.Refused), last
    return last.code


def test_what_the_processor_refuses_is_said(stage: Stage, pack: Path) -> None:
    assert refusal(stage, pack, sigstruct=b"!" * 1808) == "einit-attributes"
    assert refusal(stage, pack, debug=True) == "einit-attributes"
    assert stage.client.status()["epcUsed"] == 0


@pytest.mark.usefixtures("_namespaces")
def test_a_debug_enclave_needs_a_sigstruct_that_allows_it(stage: Stage, pack: Path) -> None:
    with stage.client.launch(b"m", b"d" * 1808, pack, debug=True) as launch:
        assert isinstance(next(iter(launch)), events.Started)


@pytest.mark.usefixtures("_namespaces")
def test_an_enclave_that_does_not_fit_is_refused_with_the_figures(stage: Stage, pack: Path) -> None:
    guests = [Guest(stage, pack) for _ in range(4)]
    with stage.client.launch(b"m", bytes(1808), pack) as launch:
        assert list(launch)[-1] == events.Refused(
            "epc-exhausted", f"The enclave needs {1 << 20} bytes; 0 of {EPC} are free.", ""
        )
    guests.pop().close()
    guests.append(Guest(stage, pack))
    for guest in guests:
        assert guest.ask("ask")["quote"]
        guest.close()


@pytest.mark.parametrize(("instance", "code"), [("vanish", "sandbox-lost"), ("lie", "sandbox-namespace")])
def test_a_sandbox_that_is_none_is_refused(stage: Stage, pack: Path, instance: str, code: str) -> None:
    assert refusal(stage, pack, host=Host(instance=instance)) == code
    assert stage.client.status()["epcUsed"] == 0


def test_a_bad_pack_is_refused(stage: Stage, pack: Path, tmp_path: Path) -> None:
    (pack / "contents").write_bytes(b"")
    assert refusal(stage, pack) == "pack-contents"
    with pytest.raises(Unavailable) as refused:
        stage.client.launch(b"m", bytes(1808), tmp_path / "none")
    assert refused.value.code == "pack-unreadable"
    with pytest.raises(Unavailable) as refused:
        stage.client.launch(b"m", bytes(1808), pack, host=Host(mounts={"a": str(tmp_path / "none")}))
    assert refused.value.code == "mount-unreadable"


def test_too_few_descriptors_are_refused(stage: Stage, pack: Path) -> None:
    body = platform.Launch(b"m", bytes(1808)).build()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(stage.path / "control.sock"))
        framing.send(sock, body, [0])
        received = framing.Reader(sock, "test").receive()
    assert received is not None
    assert received[0]["code"] == "platform-descriptors"
    assert refusal(stage, pack, sigstruct=b"!" * 1808) == "einit-attributes"


def test_a_spawner_that_died_is_said(tmp_path: Path, pack: Path) -> None:
    def die(_sock: socket.socket) -> None:
        """Serve nothing."""

    with running(tmp_path / "platform", die) as stage:
        assert stage.client.status()["pid"] == stage.pid
        assert refusal(stage, pack) in {"spawner-gone", "sandbox-lost"}
        assert refusal(stage, pack) == "spawner-gone"
        assert stage.client.status()["epcUsed"] == 0


def test_the_daemon_shows_its_memory_to_no_process_of_its_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start things as another user and look at the result")
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        os.chown(base, NOBODY, NOBODY)
        with running(Path(base) / "platform", uid=NOBODY) as stage:
            assert Path(f"/proc/{stage.pid}/mem").stat().st_uid == 0, "not dumpable: its files in /proc are root's"


def test_the_daemon_has_a_user_of_its_own_where_asked() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give the daemon another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as base, running(Path(base) / "platform", daemon_uid=NOBODY) as stage:
        text = Path(f"/proc/{stage.pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in text
        assert f"CapEff:\t{(1 << 19 | 1 << 5):016x}" in text, "CAP_SYS_PTRACE and CAP_KILL alone"
        assert not any("one user" in sentence for sentence in stage.client.status()["notHeld"])


def test_what_aesm_asks_of_the_platform(stage: Stage) -> None:
    info = stage.client.qe_info()
    assert (len(info.target_info), len(info.key_id), info.quote_size) == (512, 32, 4)
    report = stage.client.report_content(b"content", info.target_info, DATA)
    assert len(report) == quoting.REPORT
    assert stage.client.quote_report(quoting.QuoteReport(report)).qe_report is None
    assert stage.client.quote_report(quoting.QuoteReport(report, bytes(16), bytes(512))).qe_report == bytes(432)


def test_one_connection_gives_many_quotes_also_behind_a_refusal(stage: Stage) -> None:
    good, bad = quoting.QuoteReport(bytes(quoting.REPORT)).build(), {"op": "quoteReport", "report": "AA"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(stage.path / "control.sock"))
        for message in (good, good, bad):
            framing.send(sock, message)
        reader = framing.Reader(sock, "test")
        answers = [(reader.receive() or ({}, []))[0] for _ in range(3)]
        assert [next(iter(answer)) for answer in answers] == ["quote", "quote", "error"]
        assert reader.receive() is None, "what is no such request ends the connection"
