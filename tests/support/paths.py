from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def vectors(*parts: str) -> Path:
    """A path below the shared test vectors; skips the test with the reason where they are absent."""
    base = Path(os.environ.get("KLOISTER_VECTORS", ROOT / ".." / "shared" / "vectors")).resolve()
    if not base.is_dir():
        pytest.skip(f"test vectors are absent: set KLOISTER_VECTORS or put them at {base}")
    return base.joinpath(*parts)
