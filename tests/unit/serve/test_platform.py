"""`kloister serve platform` as a process, with the real processor and the real spawner."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kloister.formats.protocol import events
from kloister.tee.simulated.client import PlatformClient
from kloister.tee.simulated.notice import SIMULATED
from kloister.trust.verifier import Collateral, Root, verify_sgx
from tests.support.enclaves import gramine_vector
from tests.unit.tee.simulated.stage import make_pack

DATA = bytes(range(64))


@contextlib.contextmanager
def served(
    state: Path, said: list[str] | None = None, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], PlatformClient]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "kloister", "serve", "platform", "--state", str(state)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            (said if said is not None else []).append(line)
            if "platform ready" in line:
                break
        yield process, PlatformClient(state / "platform" / "control.sock")
    finally:
        process.terminate()
        process.stderr.close()
        process.wait(60)


def test_its_quotes_verify_under_its_root_and_survive_a_kill(tmp_path: Path) -> None:
    with served(tmp_path) as (process, client):
        root, name = client.root(), client.status()["platform"]
        collateral = Collateral.from_json(client.collateral())
        quote = client.quote_content(b"content", DATA)
        assert verify_sgx(quote, collateral, [Root.from_der(root)], datetime.now(UTC)).tcb_status == "UpToDate"
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    with served(tmp_path) as (process, client):
        assert (client.root(), client.status()["platform"]) == (root, name)
        again = client.quote_content(b"content", DATA)
        assert again[48:432] == quote[48:432], "the same report body: enclave, author, data"
        process.terminate()
        assert process.wait(60) == 0
        assert not (tmp_path / "platform" / "control.sock").exists()


def test_a_second_one_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    with served(tmp_path) as (_, client):
        with served(tmp_path) as (second, _):
            assert second.wait(60) == 1
        assert client.status()["simulated"] is True


def test_it_says_that_it_is_simulated_and_no_secret(tmp_path: Path) -> None:
    said: list[str] = []
    with served(tmp_path, said):
        fuses = (tmp_path / "platform" / "fuses").read_bytes()
    text = "".join(said)
    assert SIMULATED in text
    assert not any(secret.hex() in text for secret in (fuses[16:48], fuses[48:64]))


@pytest.mark.parametrize("size", ["0", "many", "-1", "9" * 11, "4,", "4/0", "/", "4,4/" * 90])
def test_a_bad_epc_is_the_operators(tmp_path: Path, size: str) -> None:
    with served(tmp_path, KLOISTER_PLATFORM_EPC=size) as (process, _):
        assert process.wait(60) == 1


def test_the_epc_may_lie_on_several_nodes_and_packages(tmp_path: Path) -> None:
    with served(tmp_path, KLOISTER_PLATFORM_EPC="3,4/5") as (_, client):
        nodes = client.status()["nodes"]
    assert [(node["package"], node["epcTotal"] >> 20) for node in nodes] == [(0, 3), (0, 4), (1, 5)]


def test_a_damaged_fuse_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "platform").mkdir(mode=0o700)
    (tmp_path / "platform" / "fuses").write_bytes(b"damaged")
    with served(tmp_path) as (process, _):
        assert process.wait(60) == 1
    assert (tmp_path / "platform" / "fuses").read_bytes() == b"damaged"


def test_gramines_own_enclave_is_measured_as_gramine_says_and_a_changed_one_refused(tmp_path: Path) -> None:
    vector = gramine_vector("small")
    pack = make_pack(tmp_path / "pack", vector.pal)
    with served(tmp_path) as (_, client):
        before = client.status()["epcUsed"]
        with client.launch(vector.manifest, vector.sigstruct, pack) as launch:
            first = next(iter(launch))
        assert isinstance(first, events.Started)
        assert bytes.fromhex(first.mrenclave) == vector.mrenclave
        changed = bytearray(vector.pal)
        changed[len(changed) // 2] ^= 1
        make_pack(pack, bytes(changed))
        with client.launch(vector.manifest, vector.sigstruct, pack) as launch:
            last = list(launch)[-1]
        assert isinstance(last, events.Refused)
        assert last.code == "sgx-invalid-measurement"
        deadline = time.monotonic() + 60
        while client.status()["epcUsed"] != before:  # the first one's is given back when its processes have ended
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_an_enclave_beyond_the_epc_is_refused_with_the_figures(tmp_path: Path) -> None:
    vector = gramine_vector("small")
    with served(tmp_path, KLOISTER_PLATFORM_EPC="2") as (_, client):
        with client.launch(vector.manifest, vector.sigstruct, make_pack(tmp_path / "pack", vector.pal)) as launch:
            last = list(launch)[-1]
        assert isinstance(last, events.Refused)
        assert last.code == "epc-exhausted"
        assert any(character.isdigit() for character in last.text)
        assert client.quote_content(b"x", DATA)
