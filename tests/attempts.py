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

_MOST = 2  # files; where more have failed it is no matter of chance


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Pytest's exit code; that of the second attempt where there was one."""
    if not environment.get("CI"):
        return _pytest(arguments, environment)
    with tempfile.TemporaryDirectory() as cache:
        code = _pytest([*arguments, "-o", f"cache_dir={cache}"], environment)
        failed = _failed(Path(cache)) if code == pytest.ExitCode.TESTS_FAILED else []
    if not failed or len({name.partition("::")[0] for name in failed}) > _MOST:
        return code
    _say(f"failed: once more, alone: {' '.join(failed)}")
    code = _pytest(["-p", "no:randomly", *failed], environment)
    if code == 0:
        _say(f"passed at the second attempt only, which is a fault to be mended: {' '.join(failed)}")
    return code


def _pytest(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False, env=environment).returncode


def _failed(cache: Path) -> list[str]:
    """Ids of tests, or of files that could not be read."""
    path = cache / "v" / "cache" / "lastfailed"
    return sorted(json.loads(path.read_text())) if path.exists() else []


def _say(sentence: str) -> None:
    sys.stdout.write(f"\ntests: {sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], os.environ))
