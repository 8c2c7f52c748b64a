"""Released files of a pod: in memory where memory is mounted, behind a link elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kloister.errors import Denied, Unavailable
from kloister.runtime.pod.memory import Memory, clear
from kloister.runtime.pod.mounts import Mount

OWNER = (os.getuid(), os.getgid())


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, tuple[Mount, ...]]:
    """A directory that plays memory, one that plays the node's disk, and the list that says so."""
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    memory.mkdir()
    disk.mkdir()
    return memory, disk, (Mount("/", memory=False), Mount(str(tmp_path), memory=False), Mount(str(memory), memory=True))


def test_a_file_in_memory_is_a_file(places: tuple[Path, Path, tuple[Mount, ...]]) -> None:
    memory, _, mounts = places
    Memory(mounts, (str(memory),)).file(bytes(memory / "tls/key"), b"secret", 0o400, OWNER)
    assert (memory / "tls/key").read_bytes() == b"secret"
    assert stat.S_IMODE((memory / "tls/key").stat().st_mode) == 0o400
    assert [path.name for path in memory.iterdir()] == ["tls"]


def test_elsewhere_a_link_leads_into_memory(places: tuple[Path, Path, tuple[Mount, ...]]) -> None:
    memory, disk, mounts = places
    (disk / "a").write_bytes(b"of the image")
    placing = Memory(mounts, ("/proc/none", str(disk), str(memory)))
    for name in ("a", "b"):
        placing.file(bytes(disk / name), name.encode(), 0o440, OWNER)
        kept = (disk / name).readlink()
        assert kept.is_relative_to(memory)
        assert (disk / name).read_bytes() == name.encode()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o440
        assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_without_memory_nothing_is_written(places: tuple[Path, Path, tuple[Mount, ...]]) -> None:
    _, disk, mounts = places
    with pytest.raises(Unavailable) as refused:
        Memory(mounts, (str(disk), "/proc")).file(bytes(disk / "a"), b"secret", 0o400, OWNER)
    assert refused.value.code == "pod-secret-place"
    assert list(disk.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(places: tuple[Path, Path, tuple[Mount, ...]]) -> None:
    memory, _, mounts = places
    with pytest.raises(Unavailable) as refused:
        Memory((*mounts, Mount("/sys", memory=False)), (str(memory),)).file(b"/sys/kernel/a", b"", 0o400, OWNER)
    assert refused.value.code == "pod-secret-place"
    assert "/sys/kernel" in refused.value.hint


def test_links_are_not_followed(places: tuple[Path, Path, tuple[Mount, ...]]) -> None:
    memory, disk, mounts = places
    (memory / "out").symlink_to(disk)
    with pytest.raises(Denied) as refused:
        Memory(mounts, (str(memory),)).file(bytes(memory / "out/a"), b"secret", 0o400, OWNER)
    assert refused.value.code == "place-refused"
    assert list(disk.iterdir()) == []


def test_everything_is_cleared_however_deep_and_nothing_behind_a_link(tmp_path: Path) -> None:
    place, outside = tmp_path / "place", tmp_path / "outside"
    for directory in (place, outside, place / "closed", place / "closed/inside"):
        directory.mkdir()
    (outside / "kept").write_bytes(b"")
    (place / "link").symlink_to(outside)
    (place / "closed/inside/link").symlink_to(outside)
    (place / "closed/inside").chmod(0o500)
    (place / "closed").chmod(0)
    deep = place
    for _ in range(1200):  # deeper than the interpreter's recursion goes
        deep /= "d"
        deep.mkdir()
    (deep / "file").write_bytes(b"")
    clear(place)
    assert list(place.iterdir()) == []
    assert [path.name for path in outside.iterdir()] == ["kept"]
    (tmp_path / "name").symlink_to(outside)
    with pytest.raises(OSError, match=r"name|directory"):
        clear(tmp_path / "name")
    assert [path.name for path in outside.iterdir()] == ["kept"]
