from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bad_input.bench import Bench, make_bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory beside a state of its own; a refused command must leave it empty."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("KLOISTER_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(work)
    yield work
    assert os.listdir(work) == []  # noqa: PTH208 - names are all that is wanted
