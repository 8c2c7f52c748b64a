"""Every command that the documents print is run, in order, as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCUMENTS = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_EXITS = re.compile(r"#\s*exits (\d+)$")


def commands(document: Path) -> list[tuple[str, int]]:
    """The lines after `$ ` of all console blocks, with the exit code that each must have."""
    lines = [line for block in _BLOCK.findall(document.read_text()) for line in block.splitlines()]
    found = []
    for line in lines:
        if line.startswith("$ "):
            exits = _EXITS.search(line)
            found.append((line[2:], int(exits[1]) if exits else 0))
    return found


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody who follows a document in an empty folder."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "KLOISTER_STATE": str(tmp_path / "state"),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "CHECKOUT": str(ROOT),
    }
    yield environment
    subprocess.run(["kloister", "down"], env=environment, check=False, capture_output=True, timeout=60)


@pytest.mark.e2e
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if commands(d)], ids=lambda d: d.name)
def test_the_commands_of_a_document(document: Path, tmp_path: Path, reader: dict[str, str]) -> None:
    for command, expected in commands(document):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=reader, capture_output=True, text=True, check=False, timeout=240
        )
        said = f"{command}\n{done.stdout}{done.stderr}"
        assert done.returncode == expected, said
        assert "Traceback" not in done.stderr, said


def test_no_document_prints_a_command_that_is_not_run() -> None:
    for document in DOCUMENTS:
        text = _BLOCK.sub("", document.read_text())
        unrun = [line for line in text.splitlines() if re.match(r"\s+(\$ )?(kloister|make) ", line)]
        assert not unrun, f"{document.name}: put these into a console block: {unrun}"


def test_every_threat_names_a_test_that_exists_or_says_not_held() -> None:
    rows = re.findall(r"^\| (?!threat|---)(.+?) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(tests/[^`]+)`", row)
        assert named or "**not held**" in row, row
        for name in named:
            file, _, function = name.partition("::")
            assert (ROOT / file).exists(), name
            assert not function or f"def {function}(" in (ROOT / file).read_text(), name
