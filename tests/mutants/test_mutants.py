from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import explained
from tests.mutants.__main__ import suite_of
from tests.mutants.operators import mutants
from tests.support.paths import ROOT

SOURCE = '''
"""A docstring of 3 lines."""
__all__ = ["limit-check"]
LIMIT = 4


@decorated(slots=True)
def check(value: int = 0) -> bool:
    """Another."""
    if not 0 <= value < LIMIT:
        raise Unverified("too-large", f"The value {value + 1} is too large.")
    audit(value)
    return value & 1 == 1 or any([value])
'''


def test_what_is_judged_is_mutated_and_what_is_said_is_not() -> None:
    changes = [(one.before.removeprefix("if ").removesuffix(":"), one.after) for one in mutants(SOURCE)]
    expected = [
        ("4", "5"),
        ("0", "1"),
        ("not 0 <= value < LIMIT", "if not not 0 <= value < LIMIT:"),
        ("not 0 <= value < LIMIT", "0 <= value < LIMIT"),
        ("0", "1"),
        ("0 <= value < LIMIT", "0 < value < LIMIT"),
        ("0 <= value < LIMIT", "0 > value < LIMIT"),
        ("0 <= value < LIMIT", "0 <= value <= LIMIT"),
        ("0 <= value < LIMIT", "0 <= value >= LIMIT"),
        ("raise Unverified('too-large', f'The value {value + 1} is too large.')", "pass"),
        ("'too-large'", "'too-large-mutated'"),
        ("audit(value)", "pass"),
        ("return value & 1 == 1 or any([value])", "return None"),
        ("value & 1 == 1 or any([value])", "any([value])"),
        ("value & 1 == 1 or any([value])", "value & 1 == 1"),
        ("value & 1 == 1", "value & 1 != 1"),
        ("value & 1", "value | 1"),
        ("1", "2"),
        ("1", "2"),
        ("any", "all"),
    ]
    assert sorted(changes) == sorted(expected)


def test_each_mutant_is_one_change_of_a_module_that_compiles() -> None:
    original = ast.unparse(ast.parse(SOURCE))
    trees = [ast.unparse(one.tree) for one in mutants(SOURCE)]
    assert original not in trees
    for one in mutants(SOURCE):
        compile(one.tree, "mutant", "exec")


def test_every_explained_survivor_is_a_mutant_of_its_file() -> None:
    rows = explained.rows()
    lines = [line for line in (ROOT / explained.DOCUMENT).read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(lines)
    for file, before, after, why in rows:
        there = {(one.before, one.after) for one in mutants((ROOT / "src/kloister" / file).read_text())}
        assert (before, after) in there, f"{file}: {before} -> {after} is gone; so is its explanation: {why}"


def test_a_modules_own_tests_come_first_and_long_ones_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = [Path(one).name for one in suite_of(Path("src/kloister/trust/verifier/crl.py"))]
    assert names[0] == "test_crl.py"
    assert names[-1] == "test_flips.py"
    assert "test_evidence_vectors.py" in names
    assert "test_import.py" not in names


@pytest.mark.parametrize(("limit", "status"), [("assert not small(3)", 0), ("", 1)])
def test_survivors_make_the_run_fail(tmp_path: Path, limit: str, status: int) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")  # as in the project's own
    (tmp_path / "src/example.py").write_text("def small(value):\n    return value < 3\n")
    checks = f"    assert small(2)\n    assert not small(9)\n    {limit}\n"
    (tmp_path / "test_example.py").write_text(f"from example import small\n\ndef test_it():\n{checks}")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path / 'src'}"}
    command = [sys.executable, "-m", "tests.mutants", "src/example.py", "--tests", "test_example.py"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (status, "")
    survives = "src/example.py:2: value < 3  ->  value <= 3" in ended.stdout
    assert survives == bool(status)
