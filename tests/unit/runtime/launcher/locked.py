"""A process that locks itself down as the launcher does, then tries what it should not be able to do."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

from kloister.formats.enclave.launch import User
from kloister.runtime.launcher.channel import Channel
from kloister.runtime.launcher.lockdown import lock_down
from tests.unit.runtime.launcher.documents import launch


def attempt(path: str) -> str:
    """Write a file; "ok" or the error's number."""
    try:
        with open(path, "w") as stream:  # noqa: PTH123 -- nothing may be imported any more
            stream.write("x")
    except OSError as error:
        return str(error.errno)
    return "ok"


def effective_user(program: str) -> str:
    """What a setuid copy of id(1) says."""
    reading, writing = os.pipe()
    pid = os.posix_spawn(program, [program, "-u"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
    os.close(writing)
    text = os.read(reading, 100).decode().strip()
    os.waitpid(pid, 0)
    return text


def main(inside: str, outside: str, uid: int) -> None:
    """Lock down, try, print."""
    channel = Channel.inherited()
    libc = ctypes.CDLL(None, use_errno=True)
    lock_down(
        launch(User("app", uid, uid if os.getuid() == 0 else os.getgid()), writable=(inside,), mounts={}), channel
    )
    with open("/proc/self/status") as stream:  # noqa: PTH123 -- as above
        status = dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
    traced = libc.ptrace(0, 0, 0, 0)
    found = {
        "status": {
            key: status[key] for key in ("Uid", "CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
        },
        "ignored": status["SigIgn"],
        "blocked": status["SigBlk"],
        "inside": attempt(inside + "/file"),
        "outside": attempt(outside + "/file"),
        "etc": attempt("/etc/passwd"),
        "null": attempt("/dev/null"),
        "stdout": attempt("/proc/self/fd/1"),
        "ptrace": [traced, ctypes.get_errno()],
        "setuid": effective_user(outside + "/id"),
        "umask": os.umask(0),
        "handlers": signal.getsignal(signal.SIGINT) == signal.SIG_DFL,
    }
    print("\n" + json.dumps(found))  # noqa: T201 -- the test reads it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
