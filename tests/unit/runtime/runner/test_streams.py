"""An application opens /dev/stdout and /dev/stderr again, whatever of the host lies behind them."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.formats.enclave.launch import Image, User
from tests.unit.runtime.runner.conftest import Start
from tests.unit.runtime.runner.sandboxes import LAUNCH, Running

_USER = replace(LAUNCH, image=Image(arguments=("/app",), environment=(), user=User("app", 101, 102)))


def _write_and_end(running: Running) -> None:
    for line in ("write /dev/stdout one", "write /dev/stderr two", "exit 0"):
        running.tell(line)
    assert running.last() == {"event": "exit", "status": 0}


def test_pipes(start: Start) -> None:
    running = start(launch=_USER)
    assert running.ask("write /dev/stdout out") == "out0"
    assert running.ask("write /dev/stderr err") == "err0"


@pytest.mark.parametrize("name", ["/dev/stdin", "/proc/self/fd/0"])
def test_standard_input(start: Start, name: str) -> None:
    running = start(launch=_USER)
    running.tell(f"cat {name}")
    running.until_read()
    running.tell("text")
    assert running.hear() == "text"


def test_a_file(start: Start, tmp_path: Path) -> None:
    """Both streams to one file, as in `>log 2>&1`: in order, behind what was there, and the file's owner unchanged."""
    log = tmp_path / "log"
    log.write_text("before\n")
    log.chmod(0o600)
    with log.open("ab") as output:
        _write_and_end(start(launch=_USER, output=(output.fileno(), output.fileno())))
    assert log.read_text() == "before\none0\ntwo0\n"
    about = log.stat()
    assert (about.st_mode & 0o777, about.st_uid) == (0o600, os.geteuid())


def test_two_files(start: Start, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        _write_and_end(start(launch=_USER, output=(out.fileno(), err.fileno())))
    assert (tmp_path / "out").read_text() == "one0\n0\n"
    assert (tmp_path / "err").read_text() == "two"


def test_a_socket(start: Start) -> None:
    """As systemd gives them; sockets can never be opened again by name."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        _write_and_end(start(launch=_USER, output=(theirs.fileno(), theirs.fileno())))
        assert ours.recv(100) == b"one0\ntwo0\n"


def test_a_terminal(start: Start) -> None:
    ours, theirs = os.openpty()
    mode = os.fstat(theirs).st_mode
    _write_and_end(start(launch=_USER, output=(theirs, theirs)))
    seen = b""
    while seen.count(b"\n") < 2:
        seen += os.read(ours, 100)
    assert seen == b"one0\r\ntwo0\r\n"  # line ends are made once
    assert os.fstat(theirs).st_mode == mode
    os.close(ours)
    os.close(theirs)


def test_a_device_of_everybody_is_given_as_it_is(start: Start) -> None:
    with Path("/dev/null").open("wb") as null:
        _write_and_end(start(launch=_USER, output=(null.fileno(), null.fileno())))


def test_a_reader_that_goes_away_is_noticed(start: Start) -> None:
    """Nothing takes the output any more: the application learns it as it would without a sandbox."""
    ours, theirs = socket.socketpair()
    with theirs:
        running = start(launch=_USER, output=(theirs.fileno(), theirs.fileno()))
        ours.close()
        running.settle()
        while not select.select([running.pidfd], [], [], 0.01)[0]:
            with contextlib.suppress(BrokenPipeError):
                running.tell("ids")
        assert running.last() == {"event": "exit", "signal": 13}
