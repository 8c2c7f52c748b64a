"""In front of aesmd. No aesmd of Intel's runs here: a helper plays it where it works, a socket where it does not."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.errors import KloisterError
from kloister.formats.dcap.quote import MAX_SIZE
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import ECDSA_P256, Answer
from kloister.formats.protocol.aesm_codes import AesmCode
from kloister.kubernetes.node.quotes import ForwardBackend, SimulatedBackend
from kloister.tee.simulated.client import PlatformClient
from tests.support.aesm import receive, unpadded
from tests.unit.kubernetes.node.quotes.helper import QUICK, Helper, eventually, helping
from tests.unit.kubernetes.node.short import short

INIT = aesm.InitQuote(ECDSA_P256, want_key=True, size=32)


def whole(answer: Answer) -> bytes:
    return aesm.frame(aesm.build_answer(answer))


@contextmanager
def aesmd(path: Path, answer: Callable[[bytes], bytes | None]) -> Iterator[list[bytes]]:
    """Answers each connection with the bytes given for its request; None leaves it waiting. Yields what was asked."""
    asked: list[bytes] = []
    kept: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                sock, _ = listener.accept()
                kept.append(sock)
                with suppress(OSError):  # whoever asked has left: a trial is given up when its helper ends
                    prefix = receive(sock, 4)
                    if prefix == b"stop":
                        return
                    if not prefix:
                        continue
                    asked.append(receive(sock, int.from_bytes(prefix, "little")))
                    reply = answer(asked[-1])
                    if reply is not None:
                        sock.sendall(reply)
                        sock.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
                last.send(b"stop")
                thread.join()
            for sock in kept:
                sock.close()


def test_everything_goes_on_to_what_makes_quotes(control: Path, platform: PlatformClient, tmp_path: Path) -> None:
    with (
        helping(tmp_path / "real.socket", SimulatedBackend(control)) as real,
        helping(tmp_path / "aesm.socket", ForwardBackend(real.path)) as helper,
    ):
        assert helper.server.readiness.ready
        assert helper.client.init() == real.client.init()
        report = platform.report_content(b"application", helper.client.target_info(), bytes(64))
        assert unpadded(helper.client.get(report).quote) == unpadded(real.client.get(report).quote)
        assert helper.client.get(bytes(432)) == Answer(17, AesmCode.INVALID_REPORT)
        assert helper.client.ask(aesm.KeyIds(256)) == Answer(22, key_ids=ECDSA_P256)
        assert helper.client.ask(aesm.Legacy.GET_LAUNCH_TOKEN).code == AesmCode.SERVICE_UNAVAILABLE
        assert helper.figure("kloister_aesm_requests_total", call="GetQuoteEx", code="aesm-47") == 1


def trial(quote: Answer, size: int = 5000) -> str:
    """What a trial says where aesmd answers the first two calls as it must, and the third one so."""
    answers = {15: Answer(15, target_info=bytes(512), key_size=32, key=bytes(32)), 16: Answer(16, count=size)}

    def answered(body: bytes) -> bytes:
        number = aesm.request_number(body)
        return whole(answers.get(number, quote))

    async def tried(path: Path) -> None:
        await ForwardBackend(path).trial()

    with short() as folder, aesmd(folder / "real.socket", answered) as asked:
        try:
            asyncio.run(tried(folder / "real.socket"))
        except KloisterError as error:
            return error.code
        last = aesm.parse_request(asked[-1])
        assert isinstance(last, aesm.GetQuote)
        assert last.size == size
        return "ready"


def test_a_trial_asks_for_a_whole_quote_and_only_its_report_may_be_refused() -> None:
    assert trial(Answer(17, AesmCode.INVALID_REPORT)) == "ready"
    assert trial(Answer(17, AesmCode.NETWORK)) == "aesm-12"
    assert trial(Answer(17, AesmCode.NO_PLATFORM_CERT_DATA)) == "aesm-44"
    assert trial(Answer(17, AesmCode.UNEXPECTED)) == "aesm-1"
    assert trial(Answer(17, quote=bytes(5000))) == "aesm-trial"
    assert trial(Answer(17, AesmCode.INVALID_REPORT), size=0) == "aesm-trial"


def test_a_callers_failure_that_is_not_its_own_is_tried_at_once(tmp_path: Path) -> None:
    state = {"code": AesmCode.SUCCESS}

    def answered(body: bytes) -> bytes:
        number = aesm.request_number(body)
        found = {15: Answer(15, target_info=bytes(512), key_size=32, key=bytes(32)), 16: Answer(16, count=5000)}
        return whole(found.get(number, Answer(17, 47)) if not state["code"] else Answer(number, state["code"]))

    rare = replace(QUICK, trial=3600.0)
    with (
        aesmd(tmp_path / "real.socket", answered),
        helping(tmp_path / "aesm.socket", ForwardBackend(tmp_path / "real.socket"), rare) as helper,
    ):
        assert helper.server.readiness.ready
        state["code"] = AesmCode.NETWORK
        assert helper.client.init().code == AesmCode.NETWORK
        eventually(lambda: helper.server.readiness.code == "aesm-12")
        state["code"] = AesmCode.SUCCESS
        eventually(lambda: helper.server.readiness.ready)


@pytest.mark.parametrize("code", [12, 38, 42, 44, 99])
def test_aesmds_errors_are_told_as_they_are_and_named(tmp_path: Path, code: int) -> None:
    with (
        aesmd(tmp_path / "real.socket", lambda _: whole(Answer(15, code))),
        helping(tmp_path / "aesm.socket", ForwardBackend(tmp_path / "real.socket")) as helper,
    ):
        readiness = helper.server.readiness
        assert (readiness.ready, readiness.code) == (False, f"aesm-{code}")
        assert f"kloister explain aesm-{code}" in readiness.hint
        assert helper.client.init() == Answer(15, code)
        assert helper.figure("kloister_aesm_requests_total", call="InitQuoteEx", code=f"aesm-{code}") == 1


def test_the_request_goes_on_as_it_was_meant(tmp_path: Path) -> None:
    request = aesm.GetQuote(bytes(432), ECDSA_P256, bytes(960), 8192, 5_000_000)
    with (
        aesmd(tmp_path / "real.socket", lambda _: whole(Answer(17, quote=bytes(8192)))) as asked,
        helping(tmp_path / "aesm.socket", ForwardBackend(tmp_path / "real.socket")) as helper,
    ):
        assert helper.client.ask(request).quote == bytes(8192)
        trial = aesm.build_request(INIT)  # may be made again and again, and goes no further
        assert [one for one in asked if one != trial] == [aesm.build_request(request)]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (None, "aesmd-silent"),
        (b"", "aesmd-gone"),
        (b"\x10\0", "aesmd-gone"),
        (b"\x10\0\0\0abc", "aesmd-gone"),
        (b"\0\0\0\0", "aesmd-answer"),
        (b"\xff\xff\xff\xff", "aesmd-answer"),
        (b"\x03\0\0\0abc", "aesmd-answer"),
        (whole(Answer(16, count=5)), "aesmd-answer"),
    ],
)
def test_what_is_no_answer_is_named(tmp_path: Path, reply: bytes | None, code: str) -> None:
    path = tmp_path / "real.socket"
    with aesmd(path, lambda _: reply):
        assert failure(path, 0.2 if reply is None else 60.0) == code
    assert_told(tmp_path, path, AesmCode.SERVICE_UNAVAILABLE)


def failure(path: Path, patience: float = 60.0) -> str:
    with pytest.raises(KloisterError) as caught:
        asyncio.run(ForwardBackend(path, patience).answer(INIT))
    assert caught.value.hint
    return caught.value.code


def assert_told(folder: Path, path: Path, code: AesmCode) -> Helper:
    with helping(folder / "aesm.socket", ForwardBackend(path)) as helper:
        assert helper.client.init() == Answer(15, code)
        assert not helper.server.readiness.ready
    return helper


def test_a_quote_that_is_none_is_named(tmp_path: Path) -> None:
    request = aesm.GetQuote(bytes(432), ECDSA_P256, size=8192)
    with (
        aesmd(tmp_path / "real.socket", lambda _: whole(Answer(17))),
        pytest.raises(KloisterError, match="aesmd-answer"),
    ):
        asyncio.run(ForwardBackend(tmp_path / "real.socket").answer(request))


def test_the_clients_own_time_limit_holds(tmp_path: Path) -> None:
    request = aesm.InitQuote(ECDSA_P256, want_key=True, size=32, timeout=100_000)
    with (
        aesmd(tmp_path / "real.socket", lambda _: None),
        pytest.raises(KloisterError, match=r"within 0\.1 seconds"),
    ):
        asyncio.run(ForwardBackend(tmp_path / "real.socket", patience=30).answer(request))


def test_an_aesmd_that_is_missing_or_dead_is_named(tmp_path: Path) -> None:
    path = tmp_path / "real.socket"
    assert failure(path) == "aesmd-missing"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert failure(path) == "aesmd-refused"
    assert_told(tmp_path, path, AesmCode.SERVICE_UNAVAILABLE)


def test_a_socket_that_may_not_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "real.socket"
    with aesmd(path, lambda _: whole(Answer(15, 44))):
        path.chmod(0)
        if os.geteuid() == 0:
            pid = os.fork()
            if pid == 0:  # an ordinary user, who is held by permissions
                tmp_path.chmod(0o755)
                os.setuid(65534)
                os._exit(_permission(path))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        else:
            assert failure(path) == "aesmd-permission"


def _permission(path: Path) -> int:
    try:
        return 0 if failure(path) == "aesmd-permission" else 1
    except BaseException:  # noqa: BLE001 (a forked child must not return into pytest)
        return 2


def test_a_quote_in_a_buffer_of_any_size_tells_the_platforms_tcb(tmp_path: Path) -> None:
    """Who asks chooses how far its quote is padded; one with a huge buffer must not hide the TCB of the node."""
    padded = b"a quote".ljust(MAX_SIZE + 1, b"\0")
    with (
        short() as folder,
        aesmd(folder / "aesmd", lambda _body: whole(Answer(17, quote=padded))),
        helping(tmp_path / "aesm.socket", ForwardBackend(folder / "aesmd")) as helper,
    ):
        asked = aesm.GetQuote(bytes(432), ECDSA_P256, size=len(padded))
        assert helper.client.ask(asked).quote == padded
        eventually(lambda: helper.server.quote is not None)
        assert helper.server.quote == padded[:MAX_SIZE]
