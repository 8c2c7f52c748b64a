from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kloister.runtime.runner import idmap
from tests.unit.runtime.runner.sandboxes import PackMaker, Running, Spawning, listening, probe, spawning

Start = Callable[..., Running]


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The probe's bytes, for tests whose root belongs to several users."""
    if idmap.choose(0, 0).single:
        pytest.skip("this user has no subordinate ids: usermod --add-subuids 100000-165535 NAME (and subgids), uidmap")
    return probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def spawner() -> Iterator[Spawning]:
    """One spawner for the tests of a module."""
    with spawning() as started:
        yield started


@pytest.fixture
def start(spawner: Spawning, first: bytes, tmp_path: Path) -> Iterator[Start]:
    """Start a sandbox from a pack made of `PackMaker`'s arguments."""
    socket = listening(tmp_path / "attestation")
    running: list[Running] = []

    def begin(
        *,
        measured_first: bytes = b"",
        mounts: Mapping[str, Path] | None = None,
        output: Sequence[int] = (),
        pal: bytes = first,
        **pack: Any,
    ) -> Running:
        directory = tmp_path / f"pack{len(running)}"
        manifest = PackMaker(directory, first=measured_first or pal, **pack).make()
        running.append(spawner.start(directory, manifest, pal, tmp_path / "attestation", mounts, output))
        return running[-1]

    yield begin
    for one in running:
        one.close()
    socket.close()
