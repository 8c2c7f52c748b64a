from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from kloister import files
from kloister.images.staging import staging


@pytest.mark.parametrize(("module", "name"), [(os, "open"), (fcntl, "flock")], ids=["unopened", "unlocked"])
def test_a_directory_that_another_process_took_for_stale_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    destination, real, taken = tmp_path / "place", getattr(module, name), list[str]()

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        taken.extend(path.name for path in tmp_path.iterdir())
        files.remove_stale(destination)
        return real(*arguments)

    monkeypatch.setattr(module, name, late)
    with staging(destination) as directory:
        (directory / "file").write_bytes(b"x")
        assert taken
        assert directory.name not in taken
        files.remove_stale(destination)  # it is locked now
        directory.rename(destination)
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
