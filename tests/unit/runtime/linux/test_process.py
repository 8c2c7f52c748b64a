from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kloister.runtime.linux import calls, process


def _child(act: Callable[[], bool]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            status = 0 if act() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_errors_are_os_errors() -> None:
    with pytest.raises(OSError, match="chdir") as caught:
        calls.libc("chdir", b"/no/such/place", subject="/no/such/place")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "/no/such/place")
    with pytest.raises(OSError, match="system call 9999") as caught:
        calls.syscall(9999)
    assert caught.value.errno == errno.ENOSYS


def test_nobody_waits_for_an_unseen_child() -> None:
    def act() -> bool:
        child = process.fork_unseen()
        if child == 0:
            signal.pause()
        try:
            os.wait()
        except ChildProcessError:
            return True
        finally:
            os.kill(child, signal.SIGKILL)
        return False

    assert _child(act) == 0


def test_memory_is_hidden() -> None:
    assert process.is_dumpable()

    def act() -> bool:
        process.hide_memory()
        return not process.is_dumpable()

    assert _child(act) == 0


def test_name_and_bounding_set() -> None:
    def act() -> bool:
        process.set_name(b"a-name")
        process.keep_capabilities(frozenset({0, 6}))
        status = Path("/proc/self/status").read_text()
        bounding = int(status.split("CapBnd:")[1].split()[0], 16)
        return status.startswith("Name:\ta-name\n") and bounding & ~0b1000001 == 0

    if os.geteuid() != 0:
        pytest.skip("only root may drop capabilities from its bounding set")
    assert _child(act) == 0


def test_a_child_dies_with_its_parent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        middle = os.fork()
        if middle == 0:
            try:
                if os.fork() == 0:
                    ours.close()
                    process.die_with_parent()
                    theirs.send(b"ready")
                signal.pause()
            finally:
                os._exit(1)
        theirs.close()
        assert ours.recv(5) == b"ready"
        os.kill(middle, signal.SIGKILL)
        os.waitpid(middle, 0)
        assert ours.recv(1) == b""  # its end closed: it is gone


def test_no_new_privileges() -> None:
    def act() -> bool:
        process.no_new_privileges()
        return "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()

    assert _child(act) == 0
