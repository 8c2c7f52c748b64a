"""A full disk: a file system of a MiB or two in a mount namespace of the test's own, and then room again."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kloister.images.runtime_layer import runtime_layer
from tests.support.box import POLICY
from tests.support.cli import COMMAND, assert_refused, kloister, partials, processes_of
from tests.support.cli import Done as Result
from tests.support.images import file, tar, write_image
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e

Step = tuple[str, ...]
FREE = ("mount", "-o", "remount,size=256m", "small")
Steps = Callable[..., list[Result]]

# Runs each line of its input as a command, in the namespace, and says for each how it ended and what it said.
_DRIVER = """\
import json, subprocess, sys
for line in sys.stdin:
    done = subprocess.run(json.loads(line), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    """Run commands one after the other where `small` is a file system of its own of so many KiB."""
    inside = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "--propagation", "private"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here: `kloister doctor` says why")
    (tmp_path / "small").mkdir()

    def run(kib: int, *commands: Step, **settings: str) -> list[Result]:
        import json

        mount = (
            f"mount -t tmpfs -o size={kib}k,mode=700 none small && exec {shlex.join([sys.executable, '-c', _DRIVER])}"
        )
        lines = "\n".join(json.dumps(command) for command in commands)
        done = subprocess.run(
            [*inside, "sh", "-c", mount], input=lines, capture_output=True, text=True, check=False, timeout=120,
            cwd=tmp_path, env=os.environ | settings,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [Result(*json.loads(line)) for line in done.stdout.splitlines()]

    return run


def k(line: str) -> Step:
    """A `kloister` command."""
    return (*COMMAND, *line.split())


LEFT = ("find", "small", "-name", "*.partial-*")


def test_import(tmp_path: Path, steps: Steps) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data").write_bytes(random.Random(1).randbytes(3 << 20))
    for destination in ("oci:small/image", "oci-archive:small/image.tar"):
        line = f"image import source {destination} --entrypoint /x"
        full, left, listing, _, again, good = steps(
            1024, k(line), LEFT, ("ls", "-A", "small"), FREE, k(line), k(f"image inspect --verify {destination}")
        )
        assert_refused(full, "disk-full")
        assert (left.out, listing.out) == ("", "")
        assert (again.code, good.code) == (0, 0), again


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("image")
    write_image(folder / "plain", [tar(file("data", random.Random(2).randbytes(1 << 20)))])
    runtime_layer()  # in the cache from now on
    return f"oci:{folder}/plain"


def test_convert(steps: Steps, image: str) -> None:
    line = f"convert {image} oci:small/out --state state"
    full, left, listing, _, again, good = steps(
        2048, k(line), LEFT, ("ls", "-A", "small"), FREE, k(line), k("image inspect --verify oci:small/out")
    )
    assert_refused(full, "disk-full")
    assert (left.out, listing.out) == ("", "")
    assert (again.code, good.code) == (0, 0), again


def test_convert_where_temporary_files_go(tmp_path: Path, steps: Steps, image: str) -> None:
    line = f"convert {image} oci:out --state state"
    full, listing = steps(512, k(line), ("ls", "-A", "small"), TMPDIR=str(tmp_path / "small"))
    assert_refused(full)
    assert listing.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "state"]


def test_convert_where_the_state_is(steps: Steps, image: str) -> None:
    fill = ("sh", "-c", "cat /dev/zero > small/fill")
    line = f"convert {image} oci:out --state small/state"
    _, full, left, _, again = steps(64, fill, k(line), LEFT, FREE, k(line))
    assert_refused(full)
    assert left.out == ""
    assert again.code == 0, again


def test_what_the_simulator_writes(tmp_path: Path, steps: Steps) -> None:
    (tmp_path / "app").write_bytes(b"x")
    for line in (
        "simulator collateral --out small/out",
        "simulator quote --enclave app --report-data 00 --out small/out",
    ):
        fill = ("sh", "-c", "cat /dev/zero > small/fill")
        state = " --state state"
        _, full, left, _, again = steps(64, fill, k(line + state), LEFT, FREE, k(line + state))
        assert_refused(full, "os-enospc")
        assert left.out == ""
        assert again.code == 0, again
    for line in ("simulator init",):
        fill = ("sh", "-c", "cat /dev/zero > small/fill")
        state = " --state small/state"
        _, full, left, _, again = steps(64, fill, k(line + state), LEFT, FREE, k(line + state))
        assert_refused(full)
        assert left.out == ""
        assert again.code == 0, again


def test_up(tmp_path: Path, steps: Steps) -> None:
    line, down = f"up --state small/state --listen 127.0.0.1:{free_port()}", "down --state small/state"
    full, left, ended, _, again, status, end = steps(
        32, k(line), LEFT, k(down), FREE, k(line), k("status --state small/state"), k(down)
    )
    assert_refused(full)
    assert (left.out, ended.code) == ("", 0)
    assert (again.code, status.code, end.code) == (0, 0, 0), again
    assert processes_of(tmp_path / "small" / "state") == []


def test_policies_and_secrets(tmp_path: Path, steps: Steps) -> None:
    """The broker's disk fills while it runs: it refuses, goes on, and works when there is room."""
    policy = POLICY.replace("@MRENCLAVE@", "00" * 32)
    (tmp_path / "policy.yaml").write_text(policy)
    (tmp_path / "token").write_bytes(bytes(60_000))
    apply, state = "policy apply policy.yaml", " --state small/state"
    secret = "secret set test/box token --file token"
    fill = ("sh", "-c", "cat /dev/zero > small/fill")
    results = steps(
        2048,
        k("up" + state), fill, k(apply + state), k("policy list --json" + state),
        ("rm", "small/fill"), k(apply + state), fill, k(secret + state), k("secret list test/box --json" + state),
        ("rm", "small/fill"), k(secret + state), k("audit verify" + state), k("down" + state), LEFT,
    )  # fmt: skip
    started, _, full, listed, _, applied, _, full_again, secrets, _, stored, audit, down, left = results
    assert started.code == 0, started
    assert_refused(full, "storage-full")
    assert listed.json == {"policies": []}
    assert applied.code == 0, applied
    assert_refused(full_again, "storage-full")
    assert {one["name"]: one["state"] for one in secrets.json["secrets"]}["token"] == "missing"
    assert (stored.code, audit.code, down.code, left.out) == (0, 0, 0, ""), stored


def test_results_on_standard_output() -> None:
    for line in ("version", "--help", "up --help"):
        done = subprocess.run(
            ["sh", "-c", f"exec {shlex.join([*COMMAND, *line.split()])} > /dev/full"],
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 1, line
        assert "[os-enospc]" in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    write_image(tmp_path / "image", [tar(*(file(f"f{number}", b"") for number in range(5000)))])
    line = shlex.join([*COMMAND, "image", "inspect", "--files", f"oci:{tmp_path}/image"])
    done = subprocess.run(["sh", "-c", f"{line} | head -n 1"], capture_output=True, text=True, check=False, timeout=240)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert partials(tmp_path) == []
    assert kloister("image", "inspect", f"oci:{tmp_path}/image").code == 0
