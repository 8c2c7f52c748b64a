"""Private entries of a pod: where they are placed, and when the pod does not start."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.errors import KloisterError, Misconfigured
from kloister.runtime.pod.memory import Memory, clear
from kloister.runtime.pod.mounts import Mount
from kloister.runtime.pod.private import place, require_place
from tests.unit.runtime.launcher.test_private import KEYS, SECRET, Image, flip

HERE = Mount("/.kloister/memory", memory=True)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """As a container runtime unpacks it: the encrypted parts are files of the root."""
    image = Image(tmp_path / "root")
    (image.root / ".kloister/enclave").mkdir()
    (image.folder / "private.tree").rename(image.root / ".kloister/enclave/private.tree")
    image.private = replace(image.private, links=True)
    return image


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    place = tmp_path / "memory"
    place.mkdir()
    return place


def refused(image: Image, memory: Path, keys: dict[str, bytes] | None = None) -> str:
    with pytest.raises(KloisterError) as caught:
        place(image.private, KEYS if keys is None else keys, memory, image.root)
    return caught.value.code


def test_entries_are_placed_in_memory_and_the_image_is_left_alone(image: Image, memory: Path) -> None:
    before = sorted(image.root.rglob("*"))
    place(image.private, KEYS, memory, image.root)
    assert sorted(image.root.rglob("*")) == before
    assert (memory / "private/srv/model.bin").read_bytes() == b"model"
    assert (memory / "private/srv/second").samefile(memory / "private/srv/model.bin")
    assert (memory / "private/srv/link").readlink() == Path("/srv/model.bin"), "through the link at /srv"
    assert (memory / "private/etc/app.conf").read_bytes() == b"conf"
    assert not (memory / "private/srv/gone").exists()


def test_what_an_earlier_process_left_is_replaced(image: Image, memory: Path) -> None:
    place(image.private, KEYS, memory, image.root)
    (memory / "private/srv/model.bin").unlink()
    (memory / "private/srv/model.bin").mkdir(0o500)
    (memory / "private/more").symlink_to(memory)
    (memory / "other").write_bytes(b"of the policy")
    place(image.private, KEYS, memory, image.root)
    assert (memory / "private/srv/model.bin").read_bytes() == b"model"
    assert not os.path.lexists(memory / "private/more")
    assert (memory / "other").read_bytes() == b"of the policy"


def test_released_files_of_an_earlier_process_do_not_pile_up(image: Image, memory: Path, tmp_path: Path) -> None:
    mounts = (Mount("/", memory=False), Mount(str(memory), memory=True))
    for _ in range(3):
        place(image.private, KEYS, memory, image.root)
        Memory(mounts, (str(memory),)).file(bytes(tmp_path / "file"), b"secret", 0o400, (os.getuid(), os.getgid()))
        assert (tmp_path / "file").read_bytes() == b"secret"
    assert len(list(memory.iterdir())) == 2, "the private entries, and one folder"


def test_changed_parts_and_other_keys_are_refused(image: Image, memory: Path) -> None:
    place(image.private, KEYS, memory, image.root)
    assert refused(image, memory, {}) == "private-key-missing"
    assert refused(image, memory, {"layer": SECRET[::-1]}) == "private-tree"
    flip(image.blob(), 30)
    assert refused(image, memory) == "layer-hmac"
    assert not (memory / "private/srv/model.bin").exists()
    image.blob().unlink()
    assert refused(image, memory) == "private-missing"


def test_a_volume_that_somebody_else_uses_is_refused(image: Image, memory: Path, tmp_path: Path) -> None:
    place(image.private, KEYS, memory, image.root)
    clear(memory)
    (memory / "private").write_bytes(b"")
    assert refused(image, memory) == "pod-private-memory"
    (memory / "private").unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kept").write_bytes(b"")
    (memory / "private").symlink_to(tmp_path / "elsewhere")
    assert refused(image, memory) == "pod-private-memory"
    assert (tmp_path / "elsewhere/kept").exists()


def test_nobody_else_may_change_what_was_checked(image: Image, memory: Path) -> None:
    (memory / "private").mkdir()
    (memory / "private").chmod(0o777)
    place(image.private, KEYS, memory, image.root)
    assert stat.S_IMODE((memory / "private").stat().st_mode) == 0o755
    if os.geteuid() == 0:  # only root makes somebody else's directory
        clear(memory)
        (memory / "private").mkdir()
        os.chown(memory / "private", 1, 1)
        assert refused(image, memory) == "pod-private-memory"


@pytest.mark.parametrize("mount", [replace(HERE, memory=False), replace(HERE, point="/.kloister")])
def test_without_memory_there_is_no_place(image: Image, mount: Mount) -> None:
    require_place(image.private, [HERE])
    with pytest.raises(Misconfigured) as caught:
        require_place(image.private, [mount])
    assert caught.value.code == "pod-private-memory"


def test_without_links_nobody_would_find_the_place(image: Image) -> None:
    with pytest.raises(Misconfigured) as caught:
        require_place(replace(image.private, links=False), [HERE])
    assert caught.value.code == "pod-private"
