from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import explained, patching
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
    there = {
        file: {(one.before, one.after) for one in mutants((ROOT / "src/kloister" / file).read_text())}
        for file in {row[0] for row in rows}
    }
    for file, before, after, why in rows:
        assert (before, after) in there[file], f"{file}: {before} -> {after} is gone; so is its explanation: {why}"


def test_a_modules_own_tests_come_first_and_long_ones_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = [Path(one).name for one in suite_of(Path("src/kloister/trust/verifier/crl.py"))]
    assert names[0] == "test_crl.py"
    assert names[-1] == "test_flips.py"
    assert "test_evidence_vectors.py" in names
    assert "test_import.py" not in names


def test_functions_are_changed_where_they_are_and_the_rest_wants_an_import(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text("LIMIT = 4\n\ndef outer(a, b=1):\n    def inner():\n        return a < LIMIT\n    return inner()\n")
    original, namespace = ast.parse(path.read_text()), dict[str, Any]()
    exec(compile(original, str(path), "exec"), namespace)  # noqa: S102 -- written four lines above
    changes = {str(one): patching.changed(path, original, one.tree) for one in mutants(path.read_text())}
    assert {name for name, codes in changes.items() if codes is None} == {"1: 4  ->  5", "3: 1  ->  2"}
    codes = changes["5: a < LIMIT  ->  a <= LIMIT"]
    assert codes is not None
    assert namespace["outer"](4) is False
    patching.put(path, codes)
    assert namespace["outer"](4) is True


@pytest.mark.parametrize(("constant", "status"), [("assert example.LIMIT == 3", 0), ("", 1)])
def test_what_runs_at_import_is_tried_in_a_process_of_its_own(tmp_path: Path, constant: str, status: int) -> None:
    checks = f"def test_it():\n    assert example.small(1)\n    assert not example.small(2)\n    {constant}\n"
    ended = survivors_of(tmp_path, "LIMIT = 3\ndef small(value):\n    return value == 1\n", checks)
    assert (ended.returncode, ended.stderr) == (status, "")
    assert ("src/example.py:1: 3  ->  4" in ended.stdout) == bool(status)


def survivors_of(folder: Path, source: str, checks: str) -> subprocess.CompletedProcess[str]:
    (folder / "src").mkdir()
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")  # as in the project's own
    (folder / "src/example.py").write_text(source)
    (folder / "test_example.py").write_text(f"import example\n\n{checks}")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder / 'src'}"}
    command = [sys.executable, "-m", "tests.mutants", "src/example.py", "--tests", "test_example.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("limit", "status"), [("assert not small(3)", 0), ("", 1)])
def test_survivors_make_the_run_fail(tmp_path: Path, limit: str, status: int) -> None:
    checks = f"small = example.small\n\ndef test_it():\n    assert small(2)\n    assert not small(9)\n    {limit}\n"
    ended = survivors_of(tmp_path, "def small(value):\n    return value < 3\n", checks)
    assert (ended.returncode, ended.stderr) == (status, "")
    survives = "src/example.py:2: value < 3  ->  value <= 3" in ended.stdout
    assert survives == bool(status)


def test_what_no_test_executes_survives(tmp_path: Path) -> None:
    source = "def small(value):\n    return value < 3\n\ndef forgotten(value):\n    return value == 5\n"
    ended = survivors_of(tmp_path, source, "def test_it():\n    assert [*map(example.small, [2, 3, 9])] == [1, 0, 0]\n")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert {line.split(": ")[0].strip() for line in ended.stdout.splitlines()[1:-1]} == {"src/example.py:5"}


def test_a_module_of_constants_is_tried_with_all_tests(tmp_path: Path) -> None:
    ended = survivors_of(tmp_path, "LIMIT = 3\n", "def test_it():\n    assert example.LIMIT == 3\n")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_cannot_be_put_in_place_is_imported(tmp_path: Path) -> None:
    source = "def made(a):\n    def inner(b):\n        return b or a\n    return inner\n"
    ended = survivors_of(tmp_path, source, "check = example.made(1)\n\ndef test_it():\n    assert check(5) == 5\n")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "src/example.py:3: b or a  ->  b\n" in ended.stdout  # a living function cannot lose what it closes over
    assert "src/example.py:3: b or a  ->  a\n" not in ended.stdout
