from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kloister.cli.verify import verify
from tests.support.evidence import NOW, Forge

FORGE = Forge()
app = typer.Typer(pretty_exceptions_enable=False)
app.command("verify")(verify)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "quotes").mkdir()
    (tmp_path / "quotes" / "one.bin").write_bytes(FORGE.quote())
    (tmp_path / "collateral.json").write_text(json.dumps(FORGE.documents()))
    (tmp_path / "root.der").write_bytes(FORGE.pki.root_der())
    quote = base64.b64encode(FORGE.quote()).decode()
    (tmp_path / "good.ndjson").write_text(json.dumps({"quote": quote}) + "\n")
    (tmp_path / "bad.ndjson").write_text(json.dumps({"quote": quote}) + "\n{}\n")
    return tmp_path


def run(folder: Path, *things: str, stdin: bytes = b"") -> Any:
    fixed = ["--collateral", str(folder / "collateral.json"), "--root", str(folder / "root.der"), "--jobs", "1"]
    names = [str(folder / thing) if (folder / thing).exists() else thing for thing in things]
    return CliRunner().invoke(app, [*names, *fixed, "--at", str(int(NOW.timestamp()))], input=stdin)


def test_a_batch_prints_a_line_each_and_sums_at_the_end(folder: Path) -> None:
    result = run(folder, "--batch", "quotes", "good.ndjson")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["accept", "accept"]
    assert str(folder / "quotes" / "one.bin") in result.stdout
    assert "2 judged: 2 accepted, 0 rejected, 2 genuine" in result.stderr


def test_files_that_are_passed_over_are_named(folder: Path) -> None:
    assert "passed over" not in run(folder, "--batch", "quotes").stderr
    for name in ("a.txt", "b.json", "c.log", "d.log"):
        (folder / "quotes" / name).write_bytes(b"x")
    said = run(folder, "--batch", "quotes").stderr
    assert "4 passed over, whose extensions are not those of evidence: " in said
    assert f"{folder / 'quotes' / 'c.log'} and 1 more." in said


def test_one_rejected_piece_makes_the_exit_code_1(folder: Path) -> None:
    result = run(folder, "--batch", "quotes", "bad.ndjson", "nonexistent")
    assert result.exit_code == 1
    assert "[batch-line]" in result.stdout
    assert "[batch-unreadable]" in result.stdout
    assert "4 judged: 2 accepted, 2 rejected, 2 genuine" in result.stderr
    (folder / "empty").mkdir()
    assert run(folder, "--batch", "empty").exit_code == 1


def test_json_is_a_line_of_json_each(folder: Path) -> None:
    result = run(folder, "--batch", "quotes", "bad.ndjson", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["verdict"] for row in rows] == ["accept", "accept", "reject"]
    assert rows[2]["reason"]["code"] == "batch-line"


def test_standard_input_is_lines(folder: Path) -> None:
    assert run(folder, "--batch", "-", stdin=(folder / "good.ndjson").read_bytes()).exit_code == 0


def test_several_things_need_batch(folder: Path) -> None:
    assert run(folder, "quotes/one.bin").exit_code == 0
    result = run(folder, "quotes/one.bin", "good.ndjson")
    assert result.exit_code == 2
    assert "--batch" in result.output
    assert run(folder, "--batch", "quotes", "--policy", "x", "--proof-only").exit_code == 2
