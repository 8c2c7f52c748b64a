from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def vectors(*parts: str) -> Path:
    """A path below the shared test vectors; skips the test with the reason where they are absent."""
    base = Path(os.environ.get("KLOISTER_VECTORS", ROOT / ".." / "shared" / "vectors")).resolve()
    if not base.is_dir():
        pytest.skip(f"test vectors are absent: set KLOISTER_VECTORS or put them at {base}")
    return base.joinpath(*parts)


@contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory that other users may enter; pytest's own are closed to them, again and again."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
