from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT, vectors

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def _result(directory: Path, script: str, *arguments: str) -> Any:
    """The figures of one short run, which must leave nothing behind; too short to say which of two is the faster."""
    temporary, figures = directory / "tmp", directory / "figures.json"
    temporary.mkdir()
    command = [sys.executable, str(ROOT / "bench" / script), *arguments, "--json", str(figures)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=840, check=False)
    assert run.returncode == 0, run.stderr
    assert list(temporary.iterdir()) == []
    return json.loads(figures.read_text())


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_launch_is_timed_from_the_command_to_the_application(tmp_path: Path) -> None:
    result = _result(tmp_path, "launch.py", "--runs", "1")
    series = {name: values["median"] for name, values in result["series"].items()}
    assert result["files"] > 1000
    assert {"enclave", "fill", "interpreter", "release", "private", "lockdown"} <= series.keys()
    whole, parts = series["kloister run"], series["launcher and runner"] + series["command and platform"]
    assert whole == pytest.approx(parts, abs=0.01)
    assert min(whole, series["bubblewrap"], series["fill"]) > 0


@pytest.mark.skipif(shutil.which("redis-benchmark") is None, reason="redis-tools is not installed")
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the benchmark needs two cores")
def test_redis_is_compared_with_itself_outside(tmp_path: Path) -> None:
    result = _result(tmp_path, "redis.py", "--pairs", "1", "--requests", "2000")
    for test in ("GET", "SET"):
        figures = result["tests"][test]
        expected = figures["enclave"]["median"] / figures["native"]["median"]
        assert figures["ratio"]["median"] == pytest.approx(expected, abs=0.01)
        low, high = figures["interval95"]
        assert low <= figures["ratio"]["median"] <= high


def test_the_verifier_is_compared_with_dcap_qvl(tmp_path: Path) -> None:
    vectors("evidence", "index.json")
    pytest.importorskip("dcap_qvl")
    result = _result(tmp_path, "verify.py", "--blocks", "3", "--calls", "3")
    assert set(result["sets"]) == {"SGX v3", "TDX v4"}
    for found in result["sets"].values():
        samples = {row: min(values) for row, values in found["samples"].items()}
        assert {"one P-256 verification", "warm, QE seen", "warm", "cold"} <= samples.keys()
        assert min(samples.values()) > 0
        assert found["ratios"]["warm, QE seen"]["median"] > 0
        assert set(found["shareOfBound"]) == {"cold", "warm", "warm, QE seen"}


def test_the_aesm_socket_is_compared_with_the_platforms_own(tmp_path: Path) -> None:
    result = _result(tmp_path, "aesm.py", "--calls", "20", "--rounds", "1", "--quotes", "100", "--clients", "8")
    times = result["milliseconds"]
    assert times["added p50"] == pytest.approx(times["helper p50"] - times["platform p50"], abs=0.002)
    assert min(times["platform p50"], times["helper p50"]) > 0
    assert result["rounds"] == [result["quotes per second"]]
    assert result["quotes per second"] > 0


def test_attestation_policies_are_timed(tmp_path: Path) -> None:
    result = _result(tmp_path, "maa_policy.py", "--blocks", "2", "--calls", "2")
    rows = {name: values["median"] for name, values in result["rows"].items()}
    assert min(rows["default policy"], rows["100 rules"], rows["100 rules, traced"]) > 0
    assert set(result["aims"]) == {"default policy", "100 rules"}


def test_the_webhook_is_timed(tmp_path: Path) -> None:
    samples = _result(tmp_path, "webhook.py", "--calls", "40")["milliseconds"]
    assert len(samples["1"]) == len(samples["8"]) == 40
    assert min(samples["1"] + samples["8"]) > 0


def test_the_node_agent_is_asked_as_a_kubelet_asks(tmp_path: Path) -> None:
    result = _result(tmp_path, "node.py", "--calls", "3", "--seconds", "0.1")
    assert len(result["nodes"]) == 2
    for found in result["nodes"].values():
        assert 0 < found["listed"] < found["started"]
        assert found["restarted"] > 0
        assert len(found["Allocate"]) == len(found["GetPreferredAllocation"]) == 3
        assert 20 < found["resident"] < 200


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_attestations_are_compared_with_their_signatures(tmp_path: Path) -> None:
    found = _result(tmp_path, "attest.py", "--requests", "40")["algorithms"]
    assert set(found) == {"RS256", "ES256"}
    for one in found.values():
        assert min(one["bound"], one["readySeconds"]) > 0
        for figures in one["clients"].values():
            assert 0 < figures["p50"] <= figures["p99"]
            assert figures["share"] == pytest.approx(figures["rate"] / (one["bound"] * one["workers"]))
            assert figures["shareOfCpu"] == pytest.approx(figures["perCpuSecond"] / one["bound"])
            assert min(figures["share"], figures["shareOfCpu"], figures["best"]) > 0
