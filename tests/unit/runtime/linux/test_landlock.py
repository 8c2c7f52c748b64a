from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from kloister.runtime.linux import landlock, process

pytestmark = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")


def _confined(writable: list[str], act: Callable[[], object]) -> int:
    """What `act` fails with in a child that may write below `writable` only; 0 for success."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            process.no_new_privileges()
            landlock.restrict(writable)
            act()
            status = 0
        except OSError as error:
            status = error.errno or 254
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_writing_is_confined_and_reading_is_not(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "old").write_text("old")
    places = [str(inside), str(tmp_path / "absent")]
    assert _confined(places, lambda: (inside / "x").write_text("x")) == 0
    assert _confined(places, (inside / "d").mkdir) == 0
    assert _confined(places, lambda: (inside / "x").rename(inside / "d" / "y")) == 0
    assert _confined(places, (outside / "old").read_text) == 0
    refused: list[Callable[[], object]] = [
        lambda: (outside / "x").write_text("x"),
        lambda: (outside / "old").open("r+"),
        (outside / "d").mkdir,
        (outside / "old").unlink,
        lambda: (outside / "l").symlink_to("old"),
        lambda: os.mkfifo(outside / "f"),
        lambda: os.truncate(outside / "old", 0),
        lambda: (outside / "old").rename(outside / "new"),
    ]
    for act in refused:
        assert _confined(places, act) == errno.EACCES
    assert (outside / "old").read_text() == "old"


def test_a_single_file_may_be_writable(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch()
    two.touch()
    assert _confined([str(one)], lambda: one.write_text("x")) == 0
    assert _confined([str(one)], lambda: two.write_text("x")) == errno.EACCES


def test_a_pipe_is_no_place_but_no_error() -> None:
    reading, writing = os.pipe()
    try:
        assert _confined([f"/proc/self/fd/{writing}"], lambda: os.write(writing, b"x")) == 0
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.skipif(landlock.abi() < 6, reason="scopes need Landlock's ABI 6")
def test_signals_stay_inside() -> None:
    assert _confined([], lambda: os.kill(os.getppid(), signal.SIGURG)) == errno.EPERM
    assert _confined([], lambda: os.kill(os.getpid(), 0)) == 0
