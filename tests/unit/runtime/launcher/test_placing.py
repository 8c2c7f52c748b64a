from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kloister.errors import Denied, Unavailable
from kloister.runtime.launcher.placing import Root

ME = (os.getuid(), os.getgid())
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to other users")


def test_a_file_gets_its_bytes_mode_and_parents(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root:
        root.file(b"/etc/tls/tls.key", b"key", 0o440, ME, 1000)
    place = tmp_path / "etc/tls/tls.key"
    assert place.read_bytes() == b"key"
    assert stat.S_IMODE(place.stat().st_mode) == 0o440
    assert place.stat().st_mtime == 1000
    assert stat.S_IMODE((tmp_path / "etc").stat().st_mode) & 0o022 == 0


def _on(root: Root, shared: bytes) -> tuple[Callable[[], None], ...]:
    return (
        lambda: root.file(shared + b"/file", b"secret", 0o600, ME),
        lambda: root.directory(shared + b"/directory"),
        lambda: root.symlink(shared + b"/link", b"target", ME, 0),
        lambda: root.finish_directory(shared.rpartition(b"/")[0], 0o700, ME, 0),
    )


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of its own."""
    place = Path("/dev/shm")  # noqa: S108 -- mounted everywhere
    if place.stat().st_dev == Path("/").stat().st_dev:
        pytest.skip("there is no second file system here")
    shared = place / f"{tmp_path.name}-{os.getpid()}"
    shared.mkdir()
    yield shared
    for left in shared.iterdir():
        left.unlink()
    shared.rmdir()


@pytest.mark.parametrize("way", range(4))
def test_nothing_is_placed_on_another_file_system(elsewhere: Path, way: int) -> None:
    """Below a named mount it would be the host's to read."""
    with Root() as root, pytest.raises(Denied) as caught:
        _on(root, os.fsencode(elsewhere))[way]()
    assert caught.value.code == "place-shared"
    assert list(elsewhere.iterdir()) == []


@as_root
def test_a_file_gets_its_owner_and_keeps_its_setuid_bit(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root:
        root.file(b"/su", b"", 0o4755, (33, 44))
        root.symlink(b"/link", b"su", (55, 66), 5)
    found, link = (tmp_path / "su").stat(), (tmp_path / "link").lstat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (33, 44, 0o4755)
    assert (link.st_uid, link.st_gid, link.st_mtime) == (55, 66, 5)


def test_a_file_takes_the_place_of_a_file_or_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("old")
    inside = tmp_path / "root"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "file").hardlink_to(outside)
    with Root(str(inside)) as root:
        root.file(b"/link", b"new", 0o600, ME)
        root.file(b"/file", b"new", 0o600, ME)
    assert outside.read_text() == "old"
    assert not (inside / "link").is_symlink()


@pytest.mark.parametrize("target", ["../outside", "/", "."])
def test_a_link_on_the_way_is_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    inside = tmp_path / "root"
    inside.mkdir()
    (inside / "etc").symlink_to(target)
    with Root(str(inside)) as root:
        places: list[Callable[[], None]] = [
            lambda: root.file(b"/etc/x", b"", 0o600, ME),
            lambda: root.directory(b"/etc/x"),
            lambda: root.symlink(b"/etc/x", b"y", ME, 0),
            lambda: root.hardlink(b"/y", b"/etc/x"),
        ]
        for place in places:
            with pytest.raises(Denied) as caught:
                place()
            assert caught.value.code == "place-refused"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_directory_is_not_replaced_and_a_file_is_no_parent(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("x")
    with Root(str(tmp_path)) as root:
        for path in (b"/directory", b"/file/below"):
            with pytest.raises(Denied) as caught:
                root.file(path, b"", 0o600, ME)
            assert caught.value.code == "place-refused"


def test_a_hard_link_needs_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    with Root(str(tmp_path)) as root:
        root.hardlink(b"/second", b"/file")
        with pytest.raises(Denied) as caught:
            root.hardlink(b"/third", b"/link")
    assert caught.value.code == "place-refused"
    assert (tmp_path / "second").samefile(tmp_path / "file")


def test_times_of_directories_can_be_kept(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root:
        root.directory(b"/a")
        root.directory(b"/a")
        before = root.mtime(b"/a")
        root.file(b"/a/b", b"", 0o600, ME)
        root.set_mtime(b"/a", before)
        assert root.mtime(b"/a") == before
        root.finish_directory(b"/a", 0o750, ME, 7)
    found = (tmp_path / "a").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o750, 7)


def test_what_exists_is_known(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    with Root(str(tmp_path)) as root:
        assert [root.exists(path) for path in (b"/", b"/dangling", b"/no", b"/no/way")] == [True, True, False, False]


def test_no_room_left() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    from kloister.runtime.launcher.placing import _explained

    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space") as caught:
        full.write(b"x")
    error = _explained(caught.value, b"/x")
    assert isinstance(error, Unavailable)
    assert error.code == "memory-full"


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root, pytest.raises(Denied) as caught:
        root.file(b"/" + b"x" * 300, b"", 0o600, ME)
    assert caught.value.code == "place-refused"
