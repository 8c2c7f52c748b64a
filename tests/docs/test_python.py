"""The Python of the documents is run, a document's blocks as one program, after the commands above it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_commands import commands
from tests.support.paths import ROOT

_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
DOCUMENTS = [path for path in sorted((ROOT / "docs").rglob("*.md")) if _BLOCK.search(path.read_text())]


@pytest.mark.e2e
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_of_a_document(document: Path, tmp_path: Path) -> None:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    environment["KLOISTER_STATE"] = str(tmp_path / "state")
    for command, _ in commands(document):
        subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True, capture_output=True)
    program = "\n".join(_BLOCK.findall(document.read_text()))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path, env=environment, check=False, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    if document.name == "verify-in-python.md":
        assert run.stdout.split() == [
            "sgx", "UpToDate", "00ff", "root-untrusted", "quote-truncated", "quote-signature", "simulated-not-allowed",
        ]  # fmt: skip


def test_there_is_python_to_run() -> None:
    assert "verify-in-python.md" in {path.name for path in DOCUMENTS}
