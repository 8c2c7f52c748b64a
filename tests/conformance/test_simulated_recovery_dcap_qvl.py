"""The simulator's PCS and its staged TCB recoveries before a client and verifier of others: `dcap-qvl` from PyPI."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kloister import clock
from kloister.formats.dcap import TcbStatus
from kloister.serve.recovery import write_recovery
from kloister.serve.simulator import simulator
from kloister.serve.state import State
from kloister.simulator.recovery import STAGES, Recovery

dcap_qvl = pytest.importorskip("dcap_qvl")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    return State.at(tmp_path_factory.mktemp("recovery") / "state")


@pytest.fixture(scope="module")
def url(state: State) -> Iterator[str]:
    """A PCS on loopback; without TLS, because this client takes no CA."""
    command = [sys.executable, "-m", "kloister", "simulator", "pcs", "--listen", "127.0.0.1:0", "--plain", "--json"]
    with subprocess.Popen(
        [*command, "--state", state.root], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        try:
            yield json.loads("".join(lines))["url"]
        finally:
            process.terminate()
            assert process.wait(60) == 0


@pytest.fixture(scope="module")
def evidence(state: State) -> tuple[bytes, bytes]:
    with simulator(state.platform) as platform:
        return platform.quote_content(b"program", bytes(64)), platform.root()


async def _collateral(url: str, quote: bytes) -> object:
    return await dcap_qvl.get_collateral(url, quote)


def judged(url: str, evidence: tuple[bytes, bytes]) -> tuple[str, list[str]]:
    quote, root = evidence
    verified = dcap_qvl.verify_with_root_ca(quote, asyncio.run(_collateral(url, quote)), root, clock.unix())
    return str(verified.status), list(verified.advisory_ids)


@pytest.mark.parametrize("status", STAGES)
def test_each_stage_is_seen_by_another_verifier(
    status: TcbStatus, state: State, url: str, evidence: tuple[bytes, bytes]
) -> None:
    write_recovery(state.platform, Recovery())
    assert judged(url, evidence) == ("UpToDate", [])
    advisories = () if status is TcbStatus.UP_TO_DATE else ("INTEL-SA-00615",)
    write_recovery(state.platform, Recovery.create(status, advisories, clock.now(), early=False))
    if status is TcbStatus.REVOKED:
        with pytest.raises(ValueError, match="Revoked"):
            judged(url, evidence)
    else:
        assert judged(url, evidence) == (status, list(advisories))


def test_an_early_recovery_is_not_in_the_standard_baseline(
    state: State, url: str, evidence: tuple[bytes, bytes]
) -> None:
    write_recovery(state.platform, Recovery.create("OutOfDate", (), clock.now(), early=True))
    assert judged(url, evidence) == ("UpToDate", [])
    write_recovery(state.platform, Recovery.create("OutOfDate", (), clock.now(), early=False))
    assert judged(url, evidence) == ("OutOfDate", [])
