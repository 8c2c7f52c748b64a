from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from kloister.errors import Misconfigured
from kloister.images.runtime_layer import build as builder
from kloister.images.runtime_layer import cache as cache_module
from kloister.images.runtime_layer import cache_directory, runtime_layer
from kloister.images.runtime_layer.build import Build
from kloister.images.runtime_layer.layer import RuntimeLayer


@pytest.fixture
def builds(built: Build, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts builds; the session's real build stands in for a second identical one of some seconds."""
    made: list[int] = []

    def build() -> Build:
        made.append(1)
        return built

    monkeypatch.setattr(builder, "build", build)
    return made


def test_is_built_once(builds: list[int], built: Build, tmp_path: Path) -> None:
    first = runtime_layer(tmp_path)
    assert first == runtime_layer(tmp_path)
    assert len(builds) == 1
    assert first.digest == "sha256:" + hashlib.sha256(built.blob).hexdigest()
    assert first.diff_id == "sha256:" + hashlib.sha256(built.tar).hexdigest()
    assert first.blob.stat().st_size == first.size
    assert first.loader_bytes() == built.loader


@pytest.mark.parametrize("name", ["layer.tar.gz", "index.json"])
def test_damage_is_mended(builds: list[int], tmp_path: Path, name: str) -> None:
    layer = runtime_layer(tmp_path)
    (layer.blob.parent / name).write_bytes(b"{")
    assert runtime_layer(tmp_path) == layer
    assert len(builds) == 2
    assert hashlib.sha256(layer.blob.read_bytes()).hexdigest() == layer.digest.removeprefix("sha256:")


def test_a_changed_input_is_noticed(
    builds: list[int], built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    changed = Build(built.version, built.tar, built.blob, built.loader, (source,))

    def build() -> Build:
        builds.append(1)
        return changed

    monkeypatch.setattr(builder, "build", build)
    runtime_layer(tmp_path)
    runtime_layer(tmp_path)
    assert len(builds) == 1
    os.utime(source, (1, 1))
    runtime_layer(tmp_path)
    assert len(builds) == 2


def test_the_files_of_who_was_faster_stay(built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may have been told their names, and open them in a moment."""
    faster: list[RuntimeLayer] = []

    def build() -> Build:
        if not faster:
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(builder, "build", lambda: built)
                faster.append(runtime_layer(tmp_path))
                inodes.append(faster[0].blob.stat().st_ino)
        return built

    inodes: list[int] = []
    monkeypatch.setattr(builder, "build", build)
    assert runtime_layer(tmp_path) == faster[0]
    assert faster[0].blob.stat().st_ino == inodes[0]
    assert [path.name for path in (tmp_path / "runtime").iterdir()] == [faster[0].blob.parent.name]


def test_nothing_is_left_of_a_failed_build(builds: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_COMPRESSED", 1000)
    with pytest.raises(Misconfigured) as refused:
        runtime_layer(tmp_path)
    assert refused.value.code == "runtime-too-large"
    assert builds
    assert not any(tmp_path.rglob("*.gz"))


def test_the_place_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_directory() == Path("/somewhere/kloister")
    monkeypatch.setenv("KLOISTER_CACHE", "/elsewhere")
    assert cache_directory() == Path("/elsewhere")
