"""In front of a platform that is damaged or lies: a socket plays it, since a sound one does neither."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kloister.errors import KloisterError
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import ECDSA_P256
from kloister.formats.protocol.frames import CONTROL_LIMIT, encode
from kloister.formats.protocol.quoting import QeInfo, Quoted, QuoteReport
from kloister.formats.wire import b64url
from kloister.kubernetes.node.quotes import SimulatedBackend
from kloister.tee.simulated.client import PlatformClient
from kloister.tee.simulated.framing import Reader

ASKED = aesm.GetQuote(bytes(432), ECDSA_P256, size=8192)
Answers = dict[str, bytes]


def frame(message: dict[str, Any]) -> bytes:
    return encode(message, CONTROL_LIMIT)


@contextmanager
def platform_that(path: Path, answers: Answers) -> Iterator[None]:
    """Answers each request by its op; what it has no answer for ends the connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                sock, _ = listener.accept()
                with sock, suppress(OSError, KloisterError):  # whoever asked has left
                    reader = Reader(sock, "platform")
                    while (received := reader.receive()) is not None:
                        if received[0]["op"] == "stop":
                            return
                        if received[0]["op"] not in answers:
                            break
                        sock.sendall(answers[received[0]["op"]])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
                last.sendall(frame({"op": "stop"}))
                thread.join()


def code(path: Path, act: Callable[[SimulatedBackend], Awaitable[object]]) -> str:
    """The code that an action ends with; empty where it does not fail."""

    async def run() -> str:
        backend = SimulatedBackend(path)
        try:
            await act(backend)
        except KloisterError as error:
            return error.code
        finally:
            await backend.close()
        return ""

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (frame({"quote": b64url(b"quote")}), ""),
        (b"", "peer-gone"),
        (b"\0\0\0\x02{]", "platform-json"),
        (b"\xff\xff\xff\xff", "platform-size"),
        (frame({"other": 1}), "platform-member"),
        (frame({"quote": 1}), "platform-quote"),
        (frame({"error": {"code": "platform-internal", "text": "It failed.", "hint": ""}}), "platform-internal"),
    ],
)
def test_what_is_no_answer_of_a_platform_is_named(tmp_path: Path, answer: bytes, expected: str) -> None:
    answers = {"quoteReport": answer} if answer else {}
    with platform_that(tmp_path / "control.sock", answers):
        assert code(tmp_path / "control.sock", lambda backend: backend.answer(ASKED)) == expected


def test_after_a_lost_connection_the_next_question_has_a_new_one(tmp_path: Path) -> None:
    path, answers = tmp_path / "control.sock", {"quoteReport": frame({"quote": b64url(b"quote")})}

    async def act(backend: SimulatedBackend) -> None:
        assert (await backend.answer(ASKED)).quote
        lost = answers.pop("quoteReport")
        with pytest.raises(KloisterError, match="peer-gone"):
            await backend.answer(ASKED)
        answers["quoteReport"] = lost
        assert (await backend.answer(ASKED)).quote

    with platform_that(path, answers):
        assert code(path, act) == ""


def test_a_trial_finds_a_quote_that_is_another_or_not_signed(tmp_path: Path, platform: PlatformClient) -> None:
    info = platform.qe_info()
    report = platform.report_content(b"trial", info.target_info, bytes(64))
    other = platform.report_content(b"other", info.target_info, bytes(64))
    good = platform.quote_report(QuoteReport(report)).quote
    unsigned = good[:440] + bytes([good[440] ^ 1]) + good[441:]
    refusal = frame({"error": {"code": "report-mac", "text": "Not made for it.", "hint": ""}})
    quotes = {
        frame(Quoted(good).build()): "",
        frame(Quoted(platform.quote_report(QuoteReport(other)).quote).build()): "aesm-trial",
        frame(Quoted(unsigned).build()): "aesm-trial",
        frame(Quoted(b"quote").build()): "aesm-trial",
        refusal: "aesm-trial",
    }
    for number, (quote, expected) in enumerate(quotes.items()):
        path = tmp_path / f"{number}.sock"
        size = len(good) if expected == "" else 4000
        answers = {
            "qeTargetInfo": frame(QeInfo(info.target_info, info.key_id, size).build()),
            "reportContent": frame({"report": b64url(report)}),
            "quoteReport": quote,
        }
        with platform_that(path, answers):
            assert code(path, lambda backend: backend.trial()) == expected
