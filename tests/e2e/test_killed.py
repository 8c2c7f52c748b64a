"""SIGKILL at any moment of a command: nothing counts that is half-written, and the next run works and tidies up."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.images.runtime_layer import runtime_layer
from tests.support.cli import COMMAND, kloister, partials, processes_of, settled
from tests.support.images import file, tar, write_image
from tests.support.moments import killed_at

pytestmark = pytest.mark.e2e


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("KLOISTER_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert kloister("down").code == 0
    assert processes_of(tmp_path / "state") == []


@pytest.mark.parametrize("destination", ["oci:out", "oci-archive:out"])
@pytest.mark.parametrize("size", [0, 100_000, 1_500_000])
def test_import(folder: Path, destination: str, size: int) -> None:
    """Killed when so many bytes of the layer are written."""
    (folder / "source").mkdir()
    (folder / "source" / "data").write_bytes(random.Random(1).randbytes(3 << 20))
    words = f"image import source {destination} --entrypoint /x"
    below = "folder.glob('.out.partial-*/**/partial-*')"
    written = f"any(folder.glob('.out.partial-*')) and sum(one.stat().st_size for one in {below}) >= {size}"
    assert killed_at(written, words, folder)
    assert partials(folder)
    assert not (folder / "out").exists()
    assert kloister(*words.split()).code == 0
    assert partials(folder) == []
    assert kloister("image", "inspect", "--verify", destination).code == 0


@pytest.mark.parametrize("blobs", [0, 1, 3])
def test_convert(folder: Path, blobs: int) -> None:
    """Killed when so many blobs are written; an image of the same name that was there before stays whole."""
    runtime_layer()
    write_image(folder / "plain", [tar(file("data", random.Random(2).randbytes(1 << 20)))])
    words = "convert oci:plain oci:out"
    assert kloister(*words.split()).code == 0
    before = _whole(folder)
    write_image(folder / "plain", [tar(file("data", random.Random(3).randbytes(1 << 20)))])

    written = f"any(folder.glob('.out.partial-*')) and len([*folder.glob('.out.partial-*/blobs/sha256/*')]) >= {blobs}"
    assert killed_at(written, words, folder)
    assert partials(folder)
    assert _whole(folder) == before
    assert kloister(*words.split()).code == 0
    assert partials(folder) == []
    assert _whole(folder) != before


def _whole(folder: Path) -> tuple[str, bytes]:
    """Digest of the image that the name has, all of it verified, and its policy."""
    done = kloister("image", "inspect", "--verify", "oci:out", "--json")
    assert done.code == 0, done
    return done.json["digest"], (folder / "out.policy.yaml").read_bytes()


@pytest.mark.parametrize("delay", [0.1, 0.5, 0.9])
def test_up(folder: Path, delay: float) -> None:
    """Whatever it had started by then is found again, and goes with `down`."""
    with (folder / "said").open("wb") as said:
        running = subprocess.Popen([*COMMAND, "up"], cwd=folder, stdout=said, stderr=said)
    time.sleep(delay)
    running.kill()
    running.wait()
    assert kloister("up").code == 0
    assert kloister("status").code == 0
    settled(folder / "state", 3)  # platform, broker and attestation service, each once
    assert partials(folder) == []


def test_what_a_kill_left_is_removed_by_the_next(folder: Path) -> None:
    """Half-written secrets of daemons that were killed before they had any."""
    for place in ("platform/.fuses.partial-aaaa", "broker/.root.key.partial-aaaa"):
        (folder / "state" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "state" / place).write_bytes(b"half")
    assert kloister("up").code == 0
    assert partials(folder / "state") == []
    assert (folder / "state" / "platform" / "fuses").stat().st_size == 80
