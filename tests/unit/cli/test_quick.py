from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from kloister.cli import main, quick, running
from kloister.cli.running import Request

_WORDS = st.sampled_from(
    [
        *("clinic", "oci:./a:b", "", "x=y", "A=b", "-", "--", "--state", "--state=/s", "/t", "--broker", "--broker="),
        *("--slot", "--slot=A=b", "--slot=", "--mount", "--mount=m=/d", "--debug", "--timings", "--debug=1", "--help"),
        *("-h", "--json", "--slo", "--no-debug", "-x", "---", "--timings"),
    ]
)


def _by_typer(words: list[str]) -> Request | None:
    """What Typer makes of the words after `run`; None where it refuses them or shows help."""
    seen: list[Request] = []

    def take(request: Request) -> int:
        seen.append(request)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "follow", take)
        CliRunner().invoke(main.build("run"), ["run", *words])
    return seen[0] if seen else None


@given(st.lists(_WORDS, max_size=7))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_it_reads_typer_reads_alike(words: list[str]) -> None:
    request = quick.read(words)
    assert request is None or request == _by_typer(words)


def test_the_usual_command_line_is_read() -> None:
    words = ["clinic", "--slot", "PORT=1", "--slot=A=b", "--state", "/s", "--timings", "--", "-x", "--debug"]
    assert quick.read(words) == Request(
        "clinic", ("-x", "--debug"), Path("/s"), slot=("PORT=1", "A=b"), timings=True
    )  # fmt: skip


def test_the_state_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLOISTER_STATE", "/one")
    assert quick.read(["clinic"]) == _by_typer(["clinic"]) == Request("clinic", state=Path("/one"))
    monkeypatch.setenv("KLOISTER_STATE", "")
    assert quick.read(["clinic"]) == _by_typer(["clinic"]) == Request("clinic")


@pytest.mark.parametrize("words", [[], ["--help"], ["clinic", "--slot"], ["clinic", "--unknown"], ["--slot", "A=b"]])
def test_what_is_not_plain_is_left_to_typer(words: list[str]) -> None:
    assert quick.read(words) is None


def test_a_run_imports_no_typer_and_fails_in_a_sentence(tmp_path: Path) -> None:
    text = (
        "import sys\nfrom kloister.cli.main import run\n"
        f"try:\n    run(['run', 'nothing', '--state', {str(tmp_path)!r}])\n"
        "except SystemExit as leaving:\n"
        "    print(leaving.code, *sorted({'typer', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=240)
    assert ran.stdout.split() == ["1"]
    assert "[image-unknown]" in ran.stderr
