"""Quotes of Intel's library: a shared library of our own has its functions, compiled for the test."""

from __future__ import annotations

import asyncio
import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.errors import KloisterError, Unavailable
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import ECDSA_P256, Answer
from kloister.formats.protocol.aesm_codes import LIBRARY_CODES, AesmCode
from kloister.formats.protocol.quoting import QuoteReport
from kloister.kubernetes.node.quotes import LibraryBackend
from kloister.kubernetes.node.quotes.reasons import REASONS
from kloister.tee.simulated.client import PlatformClient
from tests.support.aesm import unpadded
from tests.unit.kubernetes.node.quotes.helper import QUICK, Helper, helping

_SOURCE = Path(__file__).with_name("quote_library.c")


class Library:
    """The compiled one, and what it is to answer: a quote that the simulated platform made."""

    def __init__(self, path: Path, platform: PlatformClient) -> None:
        self.path = path
        self.target = platform.qe_info().target_info
        self.report = platform.report_content(b"application", self.target, bytes(64))
        self.quote = platform.quote_report(QuoteReport(self.report)).quote
        self._functions = ctypes.CDLL(str(path))
        self.prepare()

    def prepare(self, error: int = 0) -> None:
        self._functions.prepare(error, self.target, self.report, self.quote, len(self.quote))

    @property
    def calls(self) -> int:
        return int(self._functions.called())


def compiled(folder: Path, name: str, *options: str) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: Intel's quote library cannot be stood in for")
    path = folder / name
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", *options, "-o", path, _SOURCE], check=True)
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, platform: PlatformClient) -> Library:
    return Library(compiled(tmp_path_factory.mktemp("library"), "libquotes.so"), platform)


def served(library: Library) -> LibraryBackend:
    library.prepare()
    return LibraryBackend(str(library.path))


def test_a_client_gets_its_quote(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGX_AESM_ADDR", "1")  # as the agent's own pod might have it: the library would ask aesmd
    with helping(tmp_path / "aesm.socket", served(library)) as helper:
        assert helper.server.readiness.ready
        assert helper.client.init() == Answer(15, target_info=library.target, key_size=32, key=bytes(32))
        assert helper.client.ask(aesm.QuoteSize(ECDSA_P256)).count == len(library.quote)
        answer = helper.client.get(library.report)
        assert len(answer.quote or b"") == 8192
        assert helper.client.ask(aesm.KeyIds(256)) == Answer(22, key_ids=ECDSA_P256)
        assert unpadded(answer.quote) == library.quote == unpadded(helper.server.quote)


def test_what_cannot_be_asked_of_the_library(library: Library, tmp_path: Path) -> None:
    with helping(tmp_path / "aesm.socket", served(library), replace(QUICK, trial=3600.0)) as helper:
        assert helper.client.get(library.report).code == AesmCode.SUCCESS
        asked = library.calls
        assert refusal(helper, aesm.GetQuote(library.report, ECDSA_P256, bytes(960), 8192)) == AesmCode.NO_QE_REPORT
        assert refusal(helper, aesm.GetQuote(library.report[:-1], ECDSA_P256, size=8192)) == AesmCode.PARAMETER
        assert refusal(helper, aesm.GetQuote(library.report, ECDSA_P256, size=1000)) == AesmCode.PARAMETER
        assert refusal(helper, aesm.GetQuote(library.report, ECDSA_P256, size=1 << 20)) == AesmCode.PARAMETER
        assert refusal(helper, aesm.InitQuote(ECDSA_P256, want_key=True, size=31)) == AesmCode.PARAMETER
        assert refusal(helper, aesm.InitQuote(None, want_key=True, size=32)) == AesmCode.PARAMETER
        assert library.calls == asked
        assert refusal(helper, aesm.GetQuote(bytes(432), ECDSA_P256, size=8192)) == AesmCode.INVALID_REPORT


def refusal(helper: Helper, request: aesm.Asked) -> int:
    return helper.client.ask(request).code


@pytest.mark.parametrize(
    ("error", "code"),
    [(0xE019, 12), (0xE00B, 38), (0xE00F, 42), (0xE011, 44), (0xE012, 29), (0xE001, 1), (0xE0FF, 1), (0x1234, 1)],
)
def test_the_librarys_errors_are_told_as_aesms(library: Library, error: int, code: int) -> None:
    async def ask() -> tuple[list[int], str]:
        backend = LibraryBackend(str(library.path))
        library.prepare(error)
        requests = (
            aesm.InitQuote(ECDSA_P256, want_key=True, size=32),
            aesm.QuoteSize(ECDSA_P256),
            aesm.GetQuote(library.report, ECDSA_P256, size=8192),
        )
        answers = [(await backend.answer(one)).code for one in requests]
        with pytest.raises(KloisterError) as caught:
            await backend.trial()
        await backend.close()
        return answers, caught.value.code

    assert asyncio.run(ask()) == ([code] * 3, f"aesm-{code}")


def test_each_of_the_librarys_errors_is_explained() -> None:
    assert min(LIBRARY_CODES) == 0xE001
    for error in LIBRARY_CODES:
        assert REASONS[f"aesm-{error:#06x}"]
    assert LIBRARY_CODES[0xE019] is AesmCode.NETWORK
    assert LIBRARY_CODES[0xE015] is AesmCode.INVALID_REPORT


def test_a_library_that_is_not_there_or_another(tmp_path: Path) -> None:
    other = compiled(tmp_path, "libother.so", "-Dsgx_qe_get_quote=something_else")
    for name, code in (("libsgx-of-nobody.so.1", "quote-library-missing"), (str(other), "quote-library-symbols")):
        with pytest.raises(Unavailable) as caught:
            LibraryBackend(name)
        assert caught.value.code == code
        assert "libsgx-dcap-ql" in caught.value.hint
