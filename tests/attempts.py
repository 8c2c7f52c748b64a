"""`python -m tests.attempts ARGUMENTS`: pytest; in CI what failed gets a second attempt, alone (docs/adr/0012)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.record import SETTING

_MOST = 2  # files; where more have failed it is no matter of chance
_Record = dict[str, list[str]]


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Pytest's exit code; where there was a second attempt 0 only if all that had failed passed."""
    code, record = _pytest(arguments, environment)
    failed = record.get("failed", [])
    if not environment.get("CI") or code != pytest.ExitCode.TESTS_FAILED or not _is_chance(record):
        return code
    _say(f"failed: once more, alone: {' '.join(failed)}")
    again, second = _pytest(["-p", "no:randomly", *failed], environment)
    if again != pytest.ExitCode.OK or not set(failed) <= set(second["passed"]):
        return code
    _say(f"passed at the second attempt only, which is a fault to be mended: {' '.join(failed)}")
    return 0


def _pytest(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, _Record]:
    """Its exit code and what the plugin has written down; nothing if it did not come to that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        command = [sys.executable, "-m", "pytest", "-p", "tests.record", *arguments]
        code = subprocess.run(command, check=False, env={**environment, SETTING: str(path)}).returncode
        return code, json.loads(path.read_text()) if path.exists() else {}


def _is_chance(record: _Record) -> bool:
    """Few tests failed, and nothing else went wrong."""
    files = {name.partition("::")[0] for name in record.get("failed", [])}
    return 0 < len(files) <= _MOST and not record["otherwise"]


def _say(sentence: str) -> None:
    sys.stdout.write(f"\ntests: {sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], os.environ))
