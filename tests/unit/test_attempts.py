"""In CI a test that failed once is tried again alone, said so; nothing else passes that would have failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import attempts
from tests.support.paths import ROOT

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
SKIPS = "import pytest\ndef test_skipped():\n    pytest.skip('no reason that is listed')\n"
SKIPS_THEN = ONCE.replace("    assert not first", "    assert not first\n    import pytest; pytest.skip('now')")
DIES = """
import os
from pathlib import Path
def test_dies_once():
    seen = Path(__file__).with_suffix(".seen")
    if not seen.exists():
        seen.touch()
        os._exit(1)
"""
NO_IMPORT = "import os\nif 'PYTEST_XDIST_WORKER' in os.environ:\n    import nothing_of_this_name\ndef test_it(): pass\n"
IN_PARALLEL = ("-p", "xdist.plugin", "-n", "2", "--dist", "loadfile")


@pytest.fixture(autouse=True)
def _at_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tried(folder: Path, *arguments: str, ci: str = "true", **files: str) -> int:
    for name, content in files.items():
        (folder / f"test_{name}.py").write_text(content)
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {"PATH": os.environ["PATH"], "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    return attempts.run(["-q", *arguments], environment)


@pytest.mark.parametrize("arguments", [(), IN_PARALLEL], ids=["one", "parallel"])
def test_a_second_attempt_runs_what_failed_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert tried(tmp_path, *arguments, once=ONCE) == 0
    said = capfd.readouterr().out
    assert "passed at the second attempt only, which is a fault to be mended: " in said
    assert "test_once.py::test_at_the_second_attempt" in said
    assert (tmp_path / "test_once.others").read_text() == "x"


def test_outside_of_ci_there_is_none(tmp_path: Path) -> None:
    assert tried(tmp_path, ci="", once=ONCE) == 1


@pytest.mark.parametrize(
    "files", [{"once": ONCE, "never": NEVER}, {"once": SKIPS_THEN}], ids=["fails again", "is skipped then"]
)
def test_what_does_not_pass_has_failed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], files: dict[str, str]
) -> None:
    assert tried(tmp_path, **files) == 1
    said = capfd.readouterr().out
    assert "once more, alone" in said
    assert "passed at the second attempt" not in said


@pytest.mark.parametrize(
    ("arguments", "files", "code"),
    [
        ((), {"once": ONCE, "twice": ONCE, "thrice": ONCE}, 1),
        (("-x",), {"once": ONCE, "zero": NEVER}, 1),
        (("-p", "tests.conftest"), {"once": ONCE, "skips": SKIPS}, 6),
        (IN_PARALLEL, {"once": ONCE, "dies": DIES}, 1),
        (IN_PARALLEL, {"once": ONCE, "unreadable": NO_IMPORT}, 1),
    ],
    ids=["many", "stopped", "skip", "death", "import"],
)
def test_whatever_else_went_wrong_fails_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], files: dict[str, str], code: int
) -> None:
    assert tried(tmp_path, *arguments, **files) == code
    assert "once more" not in capfd.readouterr().out
