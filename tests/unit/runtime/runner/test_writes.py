"""The log of refused writes: what it names, and that it decides nothing."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from kloister.runtime.linux import seccomp, syscalls
from kloister.runtime.linux.notifications import Notification
from kloister.runtime.runner import writes
from tests.unit.runtime.runner.conftest import Start
from tests.unit.runtime.runner.sandboxes import ROOT, file

_CWD = 0xFFFFFF9C


class _Caller:
    """This process as the one that makes calls: its memory is read as another's would be."""

    def __init__(self) -> None:
        self._kept: list[ctypes.Array[ctypes.c_char]] = []

    def text(self, value: str) -> int:
        self._kept.append(ctypes.create_string_buffer(value.encode()))
        return ctypes.addressof(self._kept[-1])

    def call(self, number: int, *arguments: int | str) -> list[str]:
        registers = [self.text(value) if isinstance(value, str) else value for value in arguments]
        padded = (*registers, *[0] * (6 - len(registers)))
        return writes.refused(Notification(1, os.getpid(), number, padded), (self.writable,))

    writable = "/nowhere"


@pytest.fixture
def caller() -> _Caller:
    return _Caller()


def test_opens_are_named_where_they_would_write(caller: _Caller, tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    Path(old).touch()
    create = os.O_CREAT | os.O_RDONLY
    assert caller.call(syscalls.OPENAT, _CWD, old, os.O_WRONLY) == [old]
    assert caller.call(syscalls.OPENAT, _CWD, old, os.O_RDONLY | os.O_TRUNC) == [old]
    assert caller.call(syscalls.OPENAT, _CWD, new, create) == [new]
    assert caller.call(syscalls.OPENAT, _CWD, old, create) == []  # opens what is there, for reading
    assert caller.call(syscalls.OPENAT, _CWD, new, os.O_WRONLY) == []  # ENOENT comes first
    assert caller.call(syscalls.OPEN, new, create) == [new]
    assert caller.call(syscalls.CREAT, new) == [new]
    assert caller.call(syscalls.OPENAT, _CWD, new + "/deeper", create) == []
    how = ctypes.create_string_buffer((os.O_RDWR | os.O_CREAT).to_bytes(8, "little") + bytes(16))
    assert caller.call(syscalls.OPENAT2, _CWD, new, ctypes.addressof(how)) == [new]


def test_a_name_that_is_no_text_does_not_end_the_sandbox(start: Start) -> None:
    running = start(measured=[*ROOT, file("/filter", seccomp.program(notify=True))])
    assert running.ask("filter /filter") == "filtered"
    assert running.ask("write /etc/passwd\udcff\x1b[2J x") == "0"
    running.tell("exit 3")
    assert running.last() == {"event": "exit", "status": 3}
    assert running.logs() == [r"write to /etc/passwd\udcff\x1b[2J refused: convert with --writable /etc to allow it"]


def test_other_calls(caller: _Caller, tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    Path(old).touch()
    assert caller.call(syscalls.MKDIRAT, _CWD, new) == [new]
    assert caller.call(syscalls.MKDIR, old) == []  # EEXIST comes first
    assert caller.call(syscalls.UNLINKAT, _CWD, old, 0) == [old]
    assert caller.call(syscalls.UNLINK, new) == []
    assert caller.call(syscalls.RENAMEAT2, _CWD, old, _CWD, new) == [old, new]
    assert caller.call(syscalls.SYMLINKAT, "target", _CWD, new) == [new]
    assert caller.call(syscalls.LINK, old, new) == [new]
    assert caller.call(syscalls.TRUNCATE, old) == [old]
    assert caller.call(syscalls.MKDIR, new + "/") == [new]


def test_relative_paths_and_symlinks_are_resolved(caller: _Caller, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "file").touch()
    (tmp_path / "file").symlink_to("real/file")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        create = os.O_CREAT | os.O_WRONLY
        assert caller.call(syscalls.OPENAT, directory, "link/new", create) == [str(tmp_path / "real/new")]
        assert caller.call(syscalls.OPENAT, directory, "file", os.O_WRONLY) == [str(tmp_path / "real/file")]
        assert caller.call(syscalls.UNLINKAT, directory, "file", 0) == [str(tmp_path / "file")]
        assert caller.call(syscalls.OPENAT, directory, "./real/../new", create) == [str(tmp_path / "new")]
    finally:
        os.close(directory)


def test_writable_places_are_not_named(caller: _Caller, tmp_path: Path) -> None:
    caller.writable = str(tmp_path / "open")
    (tmp_path / "open").mkdir()
    (tmp_path / "opened").mkdir()
    create = os.O_CREAT | os.O_WRONLY
    assert caller.call(syscalls.OPENAT, _CWD, str(tmp_path / "open/x"), create) == []
    beside = str(tmp_path / "opened/x")
    assert caller.call(syscalls.OPENAT, _CWD, beside, create) == [beside]


def test_memory_that_is_not_there_is_the_callers_error(caller: _Caller) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        caller.call(syscalls.UNLINK, 8)


def test_a_call_that_is_not_known_names_nothing(caller: _Caller) -> None:
    assert caller.call(0, 1, 2) == []


def test_each_path_is_said_once_and_not_without_end() -> None:
    said: list[str] = []
    log = writes.WriteLog((), said.append)
    log._name(["/etc/x", "/etc/x", "/x"])
    assert said == [
        "write to /etc/x refused: convert with --writable /etc to allow it",
        "write to /x refused: convert with --writable /x to allow it",
    ]
    log._name([f"/etc/{number}" for number in range(1000)])
    assert len(said) == 257
    assert said[-1].startswith("more than 256")


def test_in_a_sandbox(start: Start) -> None:
    """The filter reports, pid 1 names, every call continues (here nothing but the modes refuses anything)."""
    program = seccomp.program(notify=True)
    running = start(measured=[*ROOT, file("/filter", program)])
    assert running.ask("write /data/before x") == "0"
    assert running.ask("filter /filter") == "filtered"
    assert running.ask("write /data/inside x") == "0"
    assert running.ask("write /etc/outside x") == "0"
    assert running.ask("chdir /etc") == "0"
    assert running.ask("write relative x") == "0"
    assert running.ask("mkdir /opt") == "0"
    assert running.ask("unlink /etc/none") == str(errno.ENOENT)
    assert running.ask("rename /etc/outside /bin/moved") == "0"
    assert running.cat("/etc/relative") == "x"
    running.tell("exit 0")
    assert running.last() == {"event": "exit", "status": 0}
    assert running.logs() == [
        "write to /etc/outside refused: convert with --writable /etc to allow it",
        "write to /etc/relative refused: convert with --writable /etc to allow it",
        "write to /opt refused: convert with --writable /opt to allow it",
        "write to /usr/bin/moved refused: convert with --writable /usr/bin to allow it",
    ]


def test_the_filter_in_a_sandbox(start: Start) -> None:
    running = start(measured=[*ROOT, file("/filter", seccomp.program(notify=True))])
    assert running.ask("filter /filter") == "filtered"
    for name in ("ptrace", "bpf", "keyctl", "mount", "setns", "unshare", "io_uring_setup", "userfaultfd", "kexec_load"):
        assert running.ask(f"call {syscalls.DENIED[name]}") == str(errno.EPERM), name
    assert running.ask(f"call {syscalls.CLONE3}") == str(errno.ENOSYS)
    assert running.ask(f"call {syscalls.CLONE} {0x10000000}") == str(errno.EPERM)
    assert running.ask(f"call {0x40000000 | 39}") == str(errno.EPERM)  # x32's getpid
    assert running.ask("call 39") == "0"
    assert running.ask("orphan") == "orphaned"  # ordinary fork still works
