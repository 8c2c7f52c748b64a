from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import User
from kloister.runtime.launcher.lockdown import ROOT_KEEPS, become
from kloister.runtime.linux import landlock
from tests.support.paths import open_directory
from tests.unit.runtime.launcher.guests import run

ROOT = os.getuid() == 0
USERS = [1000, 0] if ROOT else [os.getuid()]


def locked(base: Path, uid: int) -> dict[str, Any]:
    """Run the process in `locked.py` as `uid`, below a directory that everybody may enter and write to."""
    for name in ("inside", "outside"):
        (base / name).mkdir()
        (base / name).chmod(0o777)
    program = shutil.which("id")
    assert program
    shutil.copy(program, base / "outside/id")
    (base / "outside/id").chmod(0o4755)
    guest = run("tests.unit.runtime.launcher.locked", str(base / "inside"), str(base / "outside"), str(uid))
    assert guest.status == 0, guest.output.decode()
    assert {"event": "listener"} in guest.events
    found: dict[str, Any] = json.loads(guest.output.decode().splitlines()[-1])
    return found


# Signals 32 and 33 belong to the C library: its posix_spawn leaves them ignored, as `make` does to all it starts, and
# its own signal calls refuse to change them.
_INTERNAL = 1 << 31 | 1 << 32


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
def test_what_a_locked_process_can_still_do(uid: int) -> None:
    with open_directory() as base:
        found = locked(base, uid)
    refused = str(errno.EACCES)
    assert (found["inside"], found["null"]) == ("ok", "ok")
    assert found["stdout"] == ("ok" if uid == os.getuid() else refused)  # a pipe belongs to whoever made it
    assert (found["outside"], found["etc"]) == (refused, refused)
    assert found["ptrace"] == [-1, errno.EPERM]
    assert found["setuid"] == str(uid)
    assert found["status"]["Uid"].split() == [str(uid)] * 4
    assert (found["status"]["NoNewPrivs"], found["status"]["Seccomp"]) == ("1", "2")
    assert int(found["ignored"], 16) & ~_INTERNAL == 0
    assert int(found["blocked"], 16) == 0
    assert (found["umask"], found["handlers"]) == (0o022, True)
    assert int(found["status"]["CapAmb"], 16) == 0
    if uid:
        assert int(found["status"]["CapEff"], 16) == int(found["status"]["CapPrm"], 16) == 0
    if ROOT:
        kept = sum(1 << number for number in ROOT_KEEPS) if uid == 0 else 0
        assert int(found["status"]["CapBnd"], 16) == kept


def test_a_user_that_cannot_be_taken_is_refused() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            if ROOT:
                become(User("first", 1000, 1000))
            become(User("second", 1001, 1001))
        except Misconfigured as error:
            os._exit(7 if error.code == "user-switch" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
