"""Other people's programs, fetched once into the cache under the hash of what pins them; nothing of it is committed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

import pytest

HERE = Path(__file__).parent
_SECONDS = 120  # for a download


def sdist_tests() -> Path:
    """The folder `tests` of the Python SDK's source distribution; skips where it cannot be had."""

    def fetch(into: Path) -> None:
        _run(
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--no-binary=:all:", "--no-build-isolation", "--require-hashes",
            "--requirement", str(HERE / "requirements.txt"), "--dest", str(into), cwd=into,
        )  # fmt: skip
        (archive,) = into.glob("*.zip")
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(into)
        archive.unlink()

    (tests,) = _kept("azure-sdk-python", ["requirements.txt"], fetch).glob("*/tests")
    return tests


def node_modules() -> Path:
    """A folder with the JavaScript SDK installed; skips where it cannot be had, or without node and npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")

    def fetch(into: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, into)
        _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=into)

    return _kept("azure-sdk-javascript", ["package.json", "package-lock.json"], fetch)


def _kept(name: str, pins: Sequence[str], fetch: Callable[[Path], None]) -> Path:
    """The folder in the cache, filled if it is not there; several runs at once do no harm."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kloister" / "conformance"
    digest = hashlib.sha256(b"".join((HERE / pin).read_bytes() for pin in pins)).hexdigest()
    place = cache / f"{name}-{digest[:16]}"
    if place.is_dir():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(prefix=f"{name}-", dir=cache))
    try:
        fetch(fresh)
        fresh.rename(place)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if not place.is_dir():
            said = getattr(error, "stderr", None) or str(error)
            pytest.skip(f"{name} is not in the cache and cannot be fetched: {str(said).strip()[-200:]}")
    return place


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=_SECONDS)
