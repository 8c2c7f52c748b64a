"""`kloister simulator pcs` as a process, its TLS, and its answers to others than our client."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from kloister.formats.pki import parse_chain
from kloister.serve import pcs
from kloister.serve.simulator import simulator
from kloister.serve.state import State
from kloister.tee.simulated.store import Store


@contextlib.contextmanager
def served(state: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "kloister", "simulator", "pcs", "--listen", "127.0.0.1:0", "--json", *options]
    with subprocess.Popen(
        [*command, "--state", state], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads("".join(process.stdout.readline() for _ in range(4)))
        finally:
            process.terminate()
            process.communicate(timeout=60)


def ask(where: dict[str, Any], path: str) -> tuple[int, dict[str, str], bytes]:
    host, port = urlsplit(where["url"]).netloc.split(":")
    connection = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=where["ca"]))
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_it_answers_over_tls_and_ends_on_a_signal(tmp_path: Path) -> None:
    with served(tmp_path) as (process, where):
        with simulator(State.at(tmp_path).platform) as platform:
            expected, fmspc = platform.collateral(), platform.status()["fmspc"]
        status, headers, body = ask(where, f"/sgx/certification/v4/tcb?fmspc={fmspc}")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert unquote(headers["tcb-info-issuer-chain"]) == expected["tcb_info_issuer_chain"]
        assert json.loads(body)["tcbInfo"] == json.loads(expected["tcb_info"])
        assert headers["request-id"]
        assert ask(where, f"/tdx/certification/v4/tcb?fmspc={fmspc}")[0] == 404
        assert ask(where, "/sgx/certification/v4/tcb?" + "&".join(f"a{n}=1" for n in range(99)))[0] == 400
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert len(parse_chain((tmp_path / "pcs" / "ca.pem").read_bytes(), "ca")) == 1


def test_a_client_that_says_nothing_holds_nobody_up(tmp_path: Path) -> None:
    with served(tmp_path) as (_, where):
        host, port = urlsplit(where["url"]).netloc.split(":")
        with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))) as rude:
            rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert ask(where, "/sgx/certification/v4/rootcacrl")[0] == 200


def test_a_platform_in_use_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = State.at(tmp_path).platform
    assert pcs.documents(directory).ca == "platform"
    monkeypatch.setattr(pcs, "_PAUSE", 0.01)
    monkeypatch.setattr(pcs, "_ATTEMPTS", 3)
    store = Store.open(directory)
    try:
        with pytest.raises(Exception, match="platform-running"):
            pcs.documents(directory)
    finally:
        store.close()
    assert pcs.documents(directory).ca == "platform"


def test_requests_at_the_same_time_take_turns_at_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = State.at(tmp_path).platform
    pcs.documents(directory)  # it is made
    monkeypatch.setattr(pcs, "_ATTEMPTS", 1)  # whoever met another one there would give up at once
    answers, together = pcs.in_turn(directory), threading.Barrier(8)

    def asked(_: int) -> int:
        together.wait(60)
        return answers("/sgx/certification/v4/rootcacrl", {}).status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(asked, range(8))) == [200] * 8


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with served(tmp_path) as (_, where):
        address = urlsplit(where["url"]).netloc
        done = subprocess.run(
            [sys.executable, "-m", "kloister", "simulator", "pcs", "--listen", address, "--state", tmp_path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "[port-in-use]" in done.stderr
