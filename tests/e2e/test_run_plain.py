"""`kloister run` of an ordinary image converts it first, once, and gives it no secrets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.images.importer import ImportOptions, import_image
from kloister.images.samples.root import Root
from kloister.serve import stack
from kloister.serve.state import State
from tests.e2e.small import CAT
from tests.support.stacks import placed

pytestmark = pytest.mark.e2e


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State.at(placed(tmp_path / "state"))
    stack.up(state)
    yield state
    stack.down(state)


def _run(state: State, image: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kloister", "run", image, "--state", str(state.root)]
    environment = {**os.environ, "LEAKED": "by the host"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


_PRELOADED = """
#include <unistd.h>
__attribute__((constructor)) static void say(void) {
    char name[256];
    ssize_t size = readlink("/proc/self/exe", name, 255);
    if (size > 0) { name[size] = '\\n'; write(1, name, size + 1); }
}
"""


def test_what_the_image_preloads_is_not_loaded_into_the_launcher(state: State, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or pytest.skip("gcc is not installed")
    root = Root(tmp_path / "root")
    root.program("usr/bin/cat", CAT)
    root.libraries([CAT])
    root.directory("etc")
    (tmp_path / "root/etc/ld.so.preload").write_text("/say.so\n")
    command = [compiler, "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(tmp_path / "root/say.so")]
    subprocess.run(command, input=_PRELOADED, text=True, check=True)
    image = f"oci:{tmp_path}/plain"
    import_image(tmp_path / "root", image, ImportOptions(entrypoint=("/usr/bin/cat", "/etc/ld.so.preload")))
    ran = _run(state, image)
    assert (ran.returncode, ran.stdout) == (0, "/usr/bin/cat\n/say.so\n"), ran.stderr


def test_an_ordinary_image_is_converted_once_and_runs(state: State, tmp_path: Path) -> None:
    busybox = shutil.which("busybox") or pytest.skip("busybox is not installed (Debian: busybox-static)")
    (tmp_path / "root" / "bin").mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "root" / "bin" / "busybox")
    image = f"oci:{tmp_path}/plain"
    options = ImportOptions(entrypoint=("/bin/busybox",), command=("env",), environment=("A=1",))
    import_image(tmp_path / "root", image, options)
    first, second = _run(state, image), _run(state, image)
    assert first.returncode == second.returncode == 0, first.stderr
    assert "A=1" in first.stdout.splitlines()
    assert "LEAKED" not in first.stdout
    assert "is an ordinary image" in first.stderr
    assert "is an ordinary image" not in second.stderr
