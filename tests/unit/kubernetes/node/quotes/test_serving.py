"""Limits, slow and hostile callers, restarts: whatever one pod does, another keeps its quotes."""

from __future__ import annotations

import json
import logging
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kloister import entropy
from kloister.errors import Misconfigured
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm_codes import AesmCode
from kloister.kubernetes.node.quotes import ForwardBackend, SimulatedBackend
from kloister.tee.simulated.client import PlatformClient
from tests.support.aesm import AesmClient, receive
from tests.support.paths import ROOT
from tests.unit.kubernetes.node.quotes.helper import QUICK, Helper, eventually, helping
from tests.unit.serve.test_platform import served

UIDS = {name: f"{number:08x}-0000-0000-0000-000000000000" for number, name in enumerate(["good", "bad"], 1)}
HALF = (100).to_bytes(4, "little").hex() + "00"  # a frame that never ends


@dataclass(frozen=True, slots=True)
class Pod:
    """A process in a pod of its own, as /proc tells the helper."""

    process: subprocess.Popen[str]

    def start(self, do: str, **arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        done: dict[str, Any] = json.loads(self.process.stdout.readline())
        return done

    def do(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.start(do, **arguments)
        return self.result()


@contextmanager
def pod(proc: Path, name: str, path: Path) -> Iterator[Pod]:
    command = [sys.executable, "-m", "tests.unit.kubernetes.node.quotes.pod", str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        (proc / str(process.pid)).mkdir(parents=True)
        if not (proc / "self").exists():
            (proc / "self").symlink_to("/proc/self")
        (proc / str(process.pid) / "cgroup").write_text(f"0::/kubepods/pod{UIDS[name]}/{'a' * 64}\n")
        yield Pod(process)
    finally:
        process.communicate()


@contextmanager
def scene(control: Path, folder: Path, *names: str, **limits: Any) -> Iterator[tuple[Helper, list[Pod]]]:
    """A helper with these limits, and pods."""
    proc = folder / "proc"
    settings = replace(QUICK, proc=proc, limits=replace(QUICK.limits, **limits))
    with ExitStack() as stack:
        helper = stack.enter_context(helping(folder / "aesm.socket", SimulatedBackend(control), settings))
        yield helper, [stack.enter_context(pod(proc, name, helper.path)) for name in names]


def fresh_report(helper: Helper, platform: PlatformClient) -> str:
    return platform.report_content(b"application", helper.client.target_info(), bytes(64)).hex()


def test_a_pod_beyond_its_rate_is_told_to_wait_and_others_are_not(
    control: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with scene(control, tmp_path, "good", "bad", rate=0.001, burst=20) as (helper, (good, bad)):
        begin = time.monotonic()
        codes = bad.do("asks", number=120)["codes"]
        took = time.monotonic() - begin
        assert codes == [AesmCode.SUCCESS] * 20 + [AesmCode.BUSY] * 100
        assert good.do("asks", number=20)["codes"] == [AesmCode.SUCCESS] * 20
        assert helper.figure("kloister_aesm_requests_total", call="GetSupportedAttKeyIDNum", code="aesm-rate") == 100
    lines = [record for record in caplog.records if getattr(record, "code", "") == "aesm-rate"]
    assert {vars(line)["pod"] for line in lines} == {UIDS["bad"]}
    assert 0 < len(lines) <= 11 + 10 * took, "a flood of refusals is no flood of lines"


def test_ten_thousand_connections_of_one_pod_leave_others_their_quotes(
    control: Path, tmp_path: Path, platform: PlatformClient
) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 10_100:
        pytest.skip("a process may not have ten thousand descriptors here")
    with scene(control, tmp_path, "good", "bad", rate=1e6, burst=1e6) as (helper, (good, bad)):
        report = fresh_report(helper, platform)
        good.do("quotes", report=report, number=5)
        bad.start("hold", number=10_000, data=HALF)
        during = good.do("quotes", report=report, number=100)
        assert bad.result() == {"held": 10_000}
        assert during["codes"] == [AesmCode.SUCCESS] * 100
        assert during["longest"] < 20.0
        eventually(lambda: bad.do("alive") == {"alive": QUICK.limits.caller_connections})
        assert good.do("quotes", report=report, number=20)["codes"] == [AesmCode.SUCCESS] * 20
        refused = helper.figure("kloister_aesm_connections_refused_total", reason="caller-connections")
        assert refused == 10_000 - QUICK.limits.caller_connections


@pytest.mark.parametrize("data", ["", "ffffffff", HALF, "0700000067617262616765"])
def test_garbage_as_fast_as_it_goes_leaves_others_their_quotes(
    control: Path, tmp_path: Path, platform: PlatformClient, data: str
) -> None:
    with scene(control, tmp_path, "good", "bad") as (helper, (good, bad)):
        report = fresh_report(helper, platform)
        bad.start("flood", seconds=0.3, least=50, data=data)
        during = good.do("quotes", report=report, number=20)
        assert bad.result()["connections"] >= 50
        assert during["codes"] == [AesmCode.SUCCESS] * 20


def test_who_is_too_slow_loses_its_connection(control: Path, tmp_path: Path) -> None:
    with scene(control, tmp_path, request_patience=0.3) as (helper, _), helper.client.connected() as slow:
        slow.sendall(aesm.REQUEST_LIMIT.to_bytes(4, "little"))
        eventually(lambda: _ended(slow))
        assert helper.figure("kloister_aesm_connections_refused_total", reason="slow") == 1


def _ended(sock: socket.socket) -> bool:
    """Whether the other side hung up; if not, it gets one more byte: each is no reason to wait longer."""
    sock.settimeout(0.05)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        with suppress(ConnectionError):
            sock.send(b"\0")
        return False
    except ConnectionError:
        return True


def test_when_all_places_are_taken_the_oldest_idle_one_is_given_up(control: Path, tmp_path: Path) -> None:
    with scene(control, tmp_path, "good", connections=3) as (helper, (good,)):
        with helper.client.connected() as oldest, helper.client.connected() as second, helper.client.connected():
            assert good.do("asks", number=1)["codes"] == [AesmCode.SUCCESS]
            assert oldest.recv(1) == b""
            second.setblocking(False)
            with pytest.raises(BlockingIOError):
                second.recv(1)
        assert helper.figure("kloister_aesm_connections_refused_total", reason="connections") == 1


def test_a_pod_has_some_requests_under_way_and_the_others_wait(
    control: Path, tmp_path: Path, platform: PlatformClient
) -> None:
    with scene(control, tmp_path, caller_window=1) as (helper, _), ExitStack() as stack:
        report = bytes.fromhex(fresh_report(helper, platform))
        frame = aesm.frame(aesm.build_request(aesm.GetQuote(report, aesm.ECDSA_P256, size=8192)))
        waiting = [stack.enter_context(helper.client.connected()) for _ in range(20)]
        for sock in waiting:
            sock.sendall(frame)
        for sock in waiting:
            assert len(receive(sock, 100_000)) > 8192


def test_the_abstract_socket_answers_too(control: Path, tmp_path: Path) -> None:
    name = f"kloister-test-{entropy.identifier()}"
    with helping(tmp_path / "aesm.socket", SimulatedBackend(control), replace(QUICK, abstract=name)) as helper:
        assert AesmClient(f"\0{name}").init() == helper.client.init()
        with (
            pytest.raises(Misconfigured, match="quote-socket"),
            helping(tmp_path / "other.socket", SimulatedBackend(control), replace(QUICK, abstract=name)),
        ):
            pytest.fail("two cannot have the name")
        assert not (tmp_path / "other.socket").exists()


def test_a_new_instance_takes_over_beside_the_old_one(control: Path, tmp_path: Path) -> None:
    path = tmp_path / "aesm.socket"
    with ExitStack() as old:
        first = old.enter_context(helping(path, SimulatedBackend(control)))
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        with first.client.connected() as early, helping(path, SimulatedBackend(control)) as second:
            before = path.stat().st_ino
            early.sendall(aesm.frame(aesm.build_request(aesm.KeyNumber())))
            assert early.recv(100), "whoever is connected to the old one is answered by it"
            old.close()
            assert path.stat().st_ino == before, "the old one leaves the new one's socket"
            assert second.client.init().code == AesmCode.SUCCESS
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_named(control: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(Misconfigured, match="quote-socket"),
        helping(tmp_path / "missing" / "aesm.socket", SimulatedBackend(control)),
    ):
        pytest.fail("nobody can listen there")


def test_a_socket_that_cannot_be_put_in_place_leaves_nothing(control: Path, tmp_path: Path) -> None:
    (tmp_path / "aesm.socket" / "inside").mkdir(parents=True)
    with (
        pytest.raises(Misconfigured, match="quote-socket"),
        helping(tmp_path / "aesm.socket", SimulatedBackend(control)),
    ):
        pytest.fail("a folder stands there")
    assert list(tmp_path.iterdir()) == [tmp_path / "aesm.socket"]


def test_a_helper_does_not_ask_itself(tmp_path: Path) -> None:
    path = tmp_path / "aesm.socket"
    with pytest.raises(Misconfigured, match="quote-loop"), helping(path, ForwardBackend(tmp_path / "." / path.name)):
        pytest.fail("it would ask itself for ever")


def test_readiness_is_a_real_quote_and_comes_back_with_the_platform(tmp_path: Path) -> None:
    control, path = tmp_path / "state" / "platform" / "control.sock", tmp_path / "aesm.socket"
    with helping(path, SimulatedBackend(control)) as helper:
        assert (helper.server.readiness.ready, helper.server.readiness.code) == (False, "platform-unreachable")
        assert helper.client.init().code == AesmCode.SERVICE_UNAVAILABLE
        with served(tmp_path / "state"):
            eventually(lambda: helper.server.readiness.ready and helper.figure("kloister_quotes_ready") == 1)
            report = bytes.fromhex(fresh_report(helper, PlatformClient(control)))
            assert helper.client.get(report).code == AesmCode.SUCCESS
        assert helper.client.get(report).code == AesmCode.SERVICE_UNAVAILABLE
        eventually(lambda: not helper.server.readiness.ready)
        with served(tmp_path / "state"):
            eventually(lambda: helper.server.readiness.ready)
            again = bytes.fromhex(fresh_report(helper, PlatformClient(control)))
            assert helper.client.get(again).code == AesmCode.SUCCESS


def test_quotes_are_counted_by_pod_and_noted_with_who_and_what(
    control: Path, tmp_path: Path, platform: PlatformClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kloister.quotes")
    with scene(control, tmp_path, "good") as (helper, (good,)):
        report = fresh_report(helper, platform)
        assert good.do("quotes", report=report, number=3)["codes"] == [AesmCode.SUCCESS] * 3
        assert good.do("quotes", report="00" * 432, number=1)["codes"] == [AesmCode.INVALID_REPORT]
        assert helper.figure("kloister_quotes_total", pod=UIDS["good"]) == 3
        assert helper.figure("kloister_aesm_requests_total", call="GetQuoteEx", code="aesm-47") == 1
        assert helper.figure("kloister_aesm_requests_total", call="GetQuoteEx", code="ok") == 3
        assert helper.figure("kloister_quote_seconds_count") == 3
        eventually(lambda: helper.figure("kloister_aesm_connections") == 0)
    noted = [vars(record) for record in caplog.records if record.message == "quote"]
    assert {(one["pod"], one["container"], one["mrenclave"]) for one in noted} == {
        (UIDS["good"], "a" * 64, bytes.fromhex(report)[64:96].hex())
    }
