"""Images with private files in ordinary containers: decrypted into memory behind measured links, or not started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.enclave.runtime import MEMORY
from kloister.serve.demo.world import World
from tests.e2e.standing import APP, MODEL, USUAL, Stand, rewrite
from tests.support import pods
from tests.support.pods import Ran, memory, mount

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0 or not pods.available(), reason="needs root and runc"),
]

MOUNTS = [*USUAL, memory(MEMORY, APP)]


@pytest.fixture(scope="module", params=[{"encrypt_files": ("/data/private/*",)}, {"encrypt": ("all",)}], ids=str)
def stand(stage: World, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stand]:
    name = "-".join(["sealed", *request.param]).replace("_", "-")
    stand = Stand(stage, tmp_path_factory.mktemp("pods"), name, private_links=True, **request.param)
    yield stand
    stand.close()


def run(stand: Stand, change: Callable[[Path], None] | None = None, mounts: list[dict[str, Any]] | None = None) -> Ran:
    return stand.pod(change, mounts=MOUNTS if mounts is None else mounts).run()


def works(ran: Ran) -> bool:
    """Whether the application could read its private file, by its own path and by a private link's."""
    assert ran.status == 0, ran.log
    return ran.output.splitlines()[-1] == f"model {MODEL} {MODEL}"


def test_private_files_are_there_when_the_application_starts_and_on_no_disk(stand: Stand) -> None:
    plain = {stand.base / "source/data/private/model", *(stand.base / "plain").rglob("*")}
    pod = stand.pod(mounts=MOUNTS, environment={"SLEEP": "yes"})
    with pod.started() as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("pid 1")
        assert [path for path in stand.holding(MODEL) if path not in plain] == []
    assert works(run(stand))
    assert [path for path in stand.holding(MODEL) if path not in plain] == []


def test_what_kubernetes_mounts_itself_has_its_place(stand: Stand) -> None:
    account = mount("/var/run/secrets/kubernetes.io/serviceaccount", "tmpfs", "tmpfs", "ro")
    assert works(run(stand, mounts=[*MOUNTS, account]))


def _part(root: Path) -> Path:
    return next(path for path in (root / ".kloister/private").iterdir())


def _flipped(root: Path) -> None:
    data = _part(root).read_bytes()
    rewrite(_part(root), data[:-1] + bytes([data[-1] ^ 1]))


def _removed(root: Path) -> None:
    _part(root).unlink()


def _link(root: Path) -> Path:
    places = (root / place for place in ("data", "data/private", "data/private/model"))
    return next(place for place in places if place.is_symlink())


def _redirected(root: Path) -> None:
    link = _link(root)
    link.unlink()
    link.symlink_to("/tmp/own")  # noqa: S108 (in the container)


def _replaced(root: Path) -> None:
    link = _link(root)
    link.unlink()
    link.write_bytes(b"another model")


@pytest.mark.parametrize(
    ("change", "code"),
    [(_flipped, "file-changed"), (_removed, "file-removed"), (_redirected, "link-changed"), (_replaced, "file-kind")],
)
def test_changed_parts_and_links_are_refused(stand: Stand, change: Callable[[Path], None], code: str) -> None:
    ran = run(stand, change)
    assert (ran.refusal, ran.status, ran.output) == (code, 70, "")


def test_another_key_opens_nothing(stand: Stand) -> None:
    key = stand.conversion.secrets["layer"]
    stand.client.set_secret("pods", stand.policy, "layer", bytes(32))
    try:
        ran = run(stand)
        assert (ran.refusal, ran.status, ran.output) == ("private-tree", 70, "")
    finally:
        stand.client.set_secret("pods", stand.policy, "layer", key)
    assert works(run(stand))


def test_without_memory_of_its_own_the_application_does_not_start(stand: Stand, tmp_path: Path) -> None:
    small = memory(MEMORY, APP)
    small["options"] = [option for option in small["options"] if not option.startswith("size=")] + ["nr_inodes=3"]
    disk = mount(MEMORY, str(tmp_path))
    for mounts in (USUAL, [*USUAL, small], [*USUAL, disk]):
        ran = run(stand, mounts=mounts)
        assert (ran.refusal, ran.output) == ("pod-private-memory", ""), ran.log
    assert list(tmp_path.iterdir()) == []
    assert works(run(stand))


def test_the_same_image_runs_in_the_sandbox_of_one_machine(stand: Stand) -> None:
    options = ("--state", str(stand.world.state.root), "--broker", stand.world.address)
    command = [sys.executable, "-m", "kloister", "run", f"oci:{stand.base}/box:box", *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout.splitlines()[-1] == f"model {MODEL} {MODEL}"
