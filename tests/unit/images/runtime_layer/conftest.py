from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kloister.formats.enclave.runtime import MAIN, RUNTIME_ARGV
from kloister.images.runtime_layer import build as builder
from kloister.images.runtime_layer.build import Build
from kloister.images.runtime_layer.prelude import PRELUDE

Inside = Callable[[Path, str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def built() -> Build:
    return builder.build()


@pytest.fixture(scope="session")
def unpacked(built: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("empty-root")
    with tarfile.open(fileobj=io.BytesIO(built.tar)) as tar:
        as_it_is = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}  # Debian 12: none
        tar.extractall(root, **as_it_is)  # type: ignore[arg-type]  # noqa: S202 - the tar is our own
    return root


@pytest.fixture
def inside() -> Inside:
    """Run a program text in a root with the layer's interpreter, everything else as at a launch."""
    if os.geteuid() == 0:
        prefix = [shutil.which("chroot") or "/usr/sbin/chroot"]
    elif subprocess.run(["unshare", "--map-root-user", "true"], check=False, capture_output=True).returncode == 0:
        prefix = ["unshare", "--map-root-user", shutil.which("chroot") or "/usr/sbin/chroot"]
    else:
        pytest.skip("neither root nor user namespaces: no chroot")
    argv = RUNTIME_ARGV[: RUNTIME_ARGV.index(MAIN)]

    def run(root: Path, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, str(root), *argv, "-c", PRELUDE + text],
            capture_output=True,
            text=True,
            check=False,
            env={},
            timeout=240,
        )

    return run
