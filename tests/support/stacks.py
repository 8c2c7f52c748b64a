"""Stacks whose daemons find their ports free again when they are started anew, whoever starts a stack meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

from kloister.serve.demo.world import World
from tests.support.ports import free_port


def placed(state: Path) -> Path:
    """A state directory that says already where its daemons listen: the usual ports are for whoever comes first."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("address", "attestationAddress")}
    (state / "stack.json").write_text(json.dumps(addresses))
    return state


def world_at(base: Path) -> World:
    """The demo's stage, not begun yet, at such ports."""
    made = World(base, clinic_port=free_port(), redis_port=free_port())
    placed(made.state.root)
    return made
