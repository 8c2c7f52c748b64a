from __future__ import annotations

import os
from pathlib import Path

import pytest

from kloister.errors import Unavailable
from kloister.runtime import preload


def _image(root: Path) -> Path:
    (root / ".kloister").mkdir()
    (root / "etc").mkdir()
    return root / "etc/ld.so.preload"


def test_it_goes_and_comes_back_as_it_was(tmp_path: Path) -> None:
    file = _image(tmp_path)
    file.write_text("/usr/lib/libsnoop.so\n")
    file.chmod(0o640)
    os.utime(file, (100, 100))
    os.utime(tmp_path / "etc", (300, 300))
    preload.set_aside(tmp_path)
    assert list((tmp_path / "etc").iterdir()) == []
    assert (tmp_path / "etc").stat().st_mtime == 300
    preload.put_back(tmp_path)
    assert file.read_text() == "/usr/lib/libsnoop.so\n"
    assert (file.stat().st_mode & 0o777, file.stat().st_mtime) == (0o640, 100)
    assert (tmp_path / "etc").stat().st_mtime == 300
    assert list((tmp_path / ".kloister").iterdir()) == []


def test_a_link_is_moved_and_not_followed(tmp_path: Path) -> None:
    file = _image(tmp_path)
    file.symlink_to("nowhere")
    preload.set_aside(tmp_path)
    assert not os.path.lexists(file)
    preload.put_back(tmp_path)
    assert file.readlink() == Path("nowhere")


def test_most_images_have_none(tmp_path: Path) -> None:
    preload.set_aside(tmp_path)
    preload.put_back(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_its_place_it_is_refused(tmp_path: Path) -> None:
    _image(tmp_path).write_text("x")
    preload.set_aside(tmp_path)
    (tmp_path / "etc").rmdir()
    with pytest.raises(Unavailable) as caught:
        preload.put_back(tmp_path)
    assert caught.value.code == "preload-lost"
