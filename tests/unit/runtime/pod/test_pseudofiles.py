"""Files that are made when they are opened, with real processes on both sides, in memory as in a pod."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kloister.errors import Malformed
from kloister.runtime.pod.pseudofiles import PseudoFiles

_READERS = 3
_ROUNDS = 100
_READ = """\
import sys
for _ in range({rounds}):
    print(open(sys.argv[1]).read())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@contextmanager
def served(files: PseudoFiles) -> Iterator[int]:
    """Another process answers; it is killed at the end."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            files.make()
            os.write(theirs, b"+")
            while True:
                files.serve()
        finally:
            os._exit(1)
    os.close(theirs)
    try:
        assert os.read(ours, 1) == b"+"
        yield pid
    finally:
        os.close(ours)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def echo(directory: Path) -> Callable[[], bytes]:
    """What stands in `said`."""
    return (directory / "said").read_bytes


def test_a_content_is_that_of_the_moment_when_it_is_opened(directory: Path) -> None:
    with served(PseudoFiles(directory, {"file": echo(directory), "other": lambda: b"other"}, print)):
        for number in range(_ROUNDS):
            (directory / "said").write_text(str(number))
            assert (directory / "file").read_text() == str(number)
        assert (directory / "other").read_bytes() == b"other"
        assert (directory / "file").stat().st_size == 0, "looking at it makes no content, and none is left"
        with (directory / "file").open() as before:
            (directory / "said").write_text("later")
            assert (directory / "file").read_text() == "later"
            assert before.read() == str(_ROUNDS - 1), "who has it open keeps it"


def test_readers_at_the_same_time_all_get_a_whole_content_and_never_an_older_one(directory: Path) -> None:
    count = iter(range(10**6))
    program = [sys.executable, "-S", "-c", _READ.format(rounds=_ROUNDS), str(directory / "file")]
    with served(PseudoFiles(directory, {"file": lambda: str(next(count)).encode()}, print)):
        readers = [subprocess.Popen(program, stdout=subprocess.PIPE, text=True) for _ in range(_READERS)]
        for reader in readers:
            output, _ = reader.communicate(timeout=120)
            numbers = [int(line) for line in output.splitlines()]
            assert len(numbers) == _ROUNDS
            assert sorted(set(numbers)) == numbers, "each open has its own content"


def test_what_cannot_be_made_is_empty_and_is_told_once(directory: Path) -> None:
    def refuse() -> bytes:
        raise Malformed("a-code", "A text.")

    def tell(text: str) -> None:
        with said.open("a") as file:
            file.write(text + "\n")

    said = directory / "said"
    with served(PseudoFiles(directory, {"file": refuse}, tell)):
        assert [(directory / "file").read_bytes() for _ in range(3)] == [b""] * 3
        assert said.read_text() == "file: a-code: A text.\n"


def test_when_nobody_answers_any_more_nothing_old_is_read(directory: Path) -> None:
    with served(PseudoFiles(directory, {"file": lambda: b"content"}, print)):
        assert (directory / "file").read_bytes() == b"content"
    assert (directory / "file").read_bytes() == b""


def test_a_file_that_cannot_be_renewed_goes_away_until_it_can(directory: Path) -> None:
    place = directory / "place"
    place.mkdir()
    blocked = place / ".new"
    with served(PseudoFiles(place, {"file": lambda: b"content"}, print)):
        blocked.mkdir()
        (blocked / "full").touch()
        assert (place / "file").read_bytes() == b"content"
        assert not (place / "file").exists()
        (blocked / "full").unlink()
        blocked.rmdir()
        deadline = time.monotonic() + 60
        while not (place / "file").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (place / "file").read_bytes() == b"content"


def test_remarks_that_nobody_takes_and_faults_of_our_own_end_nothing(directory: Path) -> None:
    """The application's program may make the log it shares with this process non-blocking, or close it."""

    def fail() -> bytes:
        raise ValueError("a secret")

    def tell(text: str) -> None:
        (directory / text).touch()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with served(PseudoFiles(directory, {"file": fail, "other": lambda: b"other"}, tell)):
        for _ in range(3):
            assert (directory / "file").read_bytes() == b""
            assert (directory / "other").read_bytes() == b"other"
        assert [path.name for path in directory.glob("*: *")] == ["file: ValueError"], "and no word of it"
