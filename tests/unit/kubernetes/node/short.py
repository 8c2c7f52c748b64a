"""Folders of short paths, for sockets."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kl"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
