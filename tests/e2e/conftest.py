from __future__ import annotations

from collections.abc import Iterator

import pytest

from kloister.serve.demo.world import World
from tests.support.stacks import world_at


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A running stack with nothing in it, for tests that only add to it."""
    world = world_at(tmp_path_factory.mktemp("stage"))
    try:
        world.up()
        yield world
    finally:
        world.close()
