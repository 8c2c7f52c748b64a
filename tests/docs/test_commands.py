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
from tests.support.ports import free_port
from tests.support.stacks import placed

DOCUMENTS = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_PORT = re.compile(r"(127\.0\.0\.1:|localhost:|PORT=)(\d{4,5})\b")
_STATE = re.compile(r"--state \./(\w+)")
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


def moved(lines: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The same with ports that are free here: somebody may already have those that a document chose."""
    found = [each[2] for line, _ in lines for each in _PORT.finditer(line)]
    ports = {port: free_port() for port in dict.fromkeys(found)}
    return [(_PORT.sub(lambda each: f"{each[1]}{ports[each[2]]}", line), exits) for line, exits in lines]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody who follows a document in an empty folder."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "KLOISTER_STATE": str(placed(tmp_path / "state")),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "CHECKOUT": str(ROOT),
    }
    yield environment
    subprocess.run(["kloister", "down"], env=environment, check=False, capture_output=True, timeout=240)


@pytest.mark.e2e
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if commands(d)], ids=lambda d: d.name)
def test_the_commands_of_a_document(document: Path, tmp_path: Path, reader: dict[str, str]) -> None:
    for name in dict.fromkeys(_STATE.findall(document.read_text())):
        placed(tmp_path / name)
    for command, expected in moved(commands(document)):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=reader, capture_output=True, text=True, check=False, timeout=840
        )
        said = f"{command}\n{done.stdout}{done.stderr}"
        assert done.returncode == expected, said
        assert "Traceback" not in done.stderr, said


def test_ports_of_documents_may_be_taken() -> None:
    lines = [("a --listen 127.0.0.1:7471", 0), ("b https://127.0.0.1:7471 PORT=18443 127.0.0.1:1 2026", 1)]
    (first, _), (second, exits) = moved(lines)
    port = first.rpartition(":")[2]
    assert port.isdigit()
    assert port != "7471"
    assert (f"https://127.0.0.1:{port} " in second, exits) == (True, 1)
    assert "18443" not in second
    assert second.endswith(" 127.0.0.1:1 2026")


def test_no_document_prints_a_command_that_is_not_run() -> None:
    for document in DOCUMENTS:
        text = _BLOCK.sub("", document.read_text())
        unrun = [line for line in text.splitlines() if re.match(r"\s+(\$ )?kloister ", line)]
        assert not unrun, f"{document.name}: put these into a console block: {unrun}"


def test_make_has_every_target_that_a_document_names() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"(?:^\s+|`|\$ )make ([a-z]+)", document.read_text(), re.MULTILINE))
        assert named <= targets, f"{document.name}: {named - targets}"


def test_every_requirement_is_explained() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    files = [*(ROOT / "requirements").glob("*.in"), ROOT / "requirements" / "debian.txt"]
    lines = [line.split("#")[0].strip() for file in files for line in file.read_text().splitlines()]
    names = {re.split(r"[<>=\[; ]", line)[0] for line in lines if line and not line.startswith("-")}
    assert len(names) > 15
    missing = {name for name in names if not re.search(rf"\b{re.escape(name)}\b", page)}
    assert not missing, "say in docs/dependencies.md why these are here"


def test_every_link_leads_to_a_file() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


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
