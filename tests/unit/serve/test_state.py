from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kloister.errors import Malformed
from kloister.serve.processes import Process
from kloister.serve.state import State, read_document


def test_the_state_is_private(tmp_path: Path) -> None:
    state = State.at(tmp_path / "deep" / "state")
    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(state.platform.stat().st_mode) == 0o700


def test_the_default_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert State.at(None).root == tmp_path / "kloister"


def test_a_damaged_stack_document_is_said(tmp_path: Path) -> None:
    assert read_document(tmp_path / "absent") == {}
    for damaged in (b"{", b"[]"):
        (tmp_path / "stack.json").write_bytes(damaged)
        with pytest.raises(Malformed) as refusal:
            read_document(tmp_path / "stack.json")
        assert refusal.value.code == "stack-document"


def test_a_process_is_its_number_and_its_start() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert process is not None
    assert Process.from_json(process.as_json()) == process
    later = {**process.as_json(), "started": process.started + 1}
    assert Process.from_json(later) is None  # the number lives, but it is another process
    Process(child.pid, process.started + 1).stop()
    assert child.poll() is None
    process.stop()
    assert child.wait() != 0
    assert Process.from_json(process.as_json()) is None
    process.stop()  # twice is no error
    assert child.stdin is not None
    child.stdin.close()
