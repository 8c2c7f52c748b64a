"""The batch's mode of bench/verify.py runs from end to end and finds what the program used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

_BENCH = Path(__file__).parents[2] / "bench" / "verify.py"


def test_a_batch_is_timed_on_one_core_and_on_two(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, str(_BENCH), "--batch", "40", "--platforms", "3", "--repeats", "1", "--json", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=840)
    assert run.returncode == 0, run.stderr
    result = json.loads(out.read_text())
    assert [one["jobs"] for one in result["runs"]] == [1, 2]
    assert all(one["cpu"] > 0 and one["residentMB"] > 10 for one in result["runs"])
    assert all(one["residentMB"] >= one["proportionalMB"] for one in result["runs"])
    assert result["peakResidentMB"] == max(one["residentMB"] for one in result["runs"])
