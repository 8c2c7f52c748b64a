from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister import files


@pytest.fixture(params=[0, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_write_replaces_the_whole_file_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "document"
    files.replace(target, b"one")
    files.replace(target, b"two")
    assert target.read_bytes() == b"two"
    with pytest.raises(TypeError):
        files.replace(target, "not bytes")  # type: ignore[arg-type]  # fails after the partial file was made
    assert target.read_bytes() == b"two"
    assert names(tmp_path) == ["document"]


def test_the_mode_is_the_callers_or_the_umasks(tmp_path: Path, umask: int) -> None:
    for mode in (files.OWNER_ONLY, files.PUBLIC):
        files.replace(tmp_path / "exact", b"", mode)
        assert permissions(tmp_path / "exact") == mode
    files.replace(tmp_path / "users", b"", mode=None)
    assert permissions(tmp_path / "users") == 0o666 & ~umask


def test_a_private_file_takes_the_place_of_a_public_one(tmp_path: Path) -> None:
    target = tmp_path / "key"
    target.write_bytes(b"old")
    target.chmod(0o666)
    with target.open("rb") as reader:
        files.replace(target, b"secret")
        assert reader.read() == b"old"  # who had it open sees the old bytes
    assert permissions(target) == files.OWNER_ONLY


def test_a_symlink_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    files.replace(tmp_path / "link", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"kept"
    assert not (tmp_path / "link").is_symlink()


def test_what_the_dead_left_is_removed_and_the_living_are_spared(tmp_path: Path) -> None:
    target = tmp_path / "a[b]*"  # a name that is a pattern to glob
    pid = os.fork()
    if pid == 0:
        files._new(target, 0o600)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(names(tmp_path)) == 1
    (tmp_path / ".ab.partial-aaaa").write_bytes(b"another's")
    alive, descriptor = files._new(target, 0o600)
    files.replace(target, b"whole")
    assert names(tmp_path) == sorted([alive.name, ".ab.partial-aaaa", target.name])
    os.close(descriptor)
    files.remove_stale(target)
    assert not alive.exists()


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    target, failed = tmp_path / "document", []

    def write(byte: int) -> None:
        try:
            for _ in range(20):
                files.replace(target, bytes([byte]) * 4096)
        except OSError as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(byte,)) for byte in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert len(set(target.read_bytes())) == 1
    assert names(tmp_path) == ["document"]
