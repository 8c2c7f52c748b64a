from __future__ import annotations

import json
import subprocess
import sys

import pytest

from kloister.cli.console import from_os_error
from kloister.cli.main import VERBS, build, normalise


def kloister(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kloister", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.parametrize("arguments", [["--bogus"], ["no-such-verb"], ["version", "extra"], ["version", "--bogus"], []])
def test_misuse_exits_2_and_says_how(arguments: list[str]) -> None:
    assert kloister("version").returncode == 0
    done = kloister(*arguments)
    assert done.returncode == 2
    assert "Usage: kloister" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_output_json_has_a_short_form() -> None:
    assert json.loads(kloister("version", "-o", "json").stdout) == json.loads(kloister("version", "--json").stdout)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["-o", "json", "x"], ["--json", "x"]),
        (["--output=json"], ["--json"]),
        (["-o", "text"], ["-o", "text"]),
        (["run", "--", "-o", "json"], ["run", "--", "-o", "json"]),
        (["-o"], ["-o"]),
    ],
)
def test_normalise(given: list[str], expected: list[str]) -> None:
    assert normalise(given) == expected


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_loads_and_says_what_it_does(verb: str) -> None:
    app = build(verb)
    names = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    assert verb in names
    assert VERBS[verb][1].endswith(".")


def test_a_system_error_becomes_a_sentence() -> None:
    error = from_os_error(OSError(28, "No space left on device", "/full"))
    assert error.code == "os-enospc"
    assert "/full" in error.text
    assert "Free some space" in error.hint
