"""In CI a test that failed once is tried again alone, said so; nothing else passes that would have failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import attempts

ONCE = """
from pathlib import Path
def test_at_the_second_attempt():
    seen = Path(__file__).with_suffix(".seen")
    first, _ = not seen.exists(), seen.touch()
    assert not first
def test_other():
    with Path(__file__).with_suffix(".others").open("a") as counted:
        counted.write("x")
"""
NEVER = "def test_never():\n    assert False\n"


@pytest.fixture(autouse=True)
def _at_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tried(folder: Path, ci: str, **files: str) -> int:
    for name, content in files.items():
        (folder / f"test_{name}.py").write_text(content)
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {"PATH": os.environ["PATH"], "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return attempts.run(["-q"], environment)


def test_a_second_attempt_runs_what_failed_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert tried(tmp_path, "true", once=ONCE) == 0
    said = capfd.readouterr().out
    assert "passed at the second attempt only, which is a fault to be mended: " in said
    assert "test_once.py::test_at_the_second_attempt" in said
    assert (tmp_path / "test_once.others").read_text() == "x"


def test_outside_of_ci_there_is_none(tmp_path: Path) -> None:
    assert tried(tmp_path, "", once=ONCE) == 1


def test_what_fails_twice_has_failed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert tried(tmp_path, "true", once=ONCE, never=NEVER) == 1
    assert "passed at the second attempt" not in capfd.readouterr().out


def test_many_that_fail_get_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert tried(tmp_path, "true", once=ONCE, twice=ONCE, thrice=ONCE) == 1
    assert "once more" not in capfd.readouterr().out


def test_a_file_that_cannot_be_read_stays_a_failure(tmp_path: Path) -> None:
    assert tried(tmp_path, "true", once="import nothing_of_this_name\n") not in (0, None)
