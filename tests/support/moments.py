"""A command that stops at a given moment, to be killed there, however fast or slow the machine is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

# From the first file on that is not whole yet, it looks at the folder after each call that may change it, and stops.
_PROGRAM = """\
import os, runpy, signal, sys
from pathlib import Path

WRITES = {"write", "flush", "close", "mkdir", "open", "rename", "replace", "link", "fsync"}
moment, folder, looking = compile(sys.argv.pop(1), "moment", "eval"), Path.cwd(), False

def look(frame, event, function):
    global looking
    if event == "c_return" and function.__name__ in WRITES and not looking:
        looking = True
        if eval(moment, {"folder": folder}):
            os.kill(os.getpid(), signal.SIGSTOP)
        looking = False

def hear(event, arguments):
    if not looking and sys.getprofile() is None and ".partial-" in str(arguments[:1]):
        sys.setprofile(look)

sys.addaudithook(hear)
runpy.run_module("kloister", run_name="__main__", alter_sys=True)
"""


def killed_at(moment: str, words: str, folder: Path, environment: dict[str, str] | None = None) -> bool:
    """Run `kloister WORDS` in a folder and kill it when an expression is true; whether it came to that.

    Args:
        moment: of Python, with the `folder` as a path.
        words: separated by blanks.
        folder: the working directory, where `said` takes the output.
        environment: the process's, if not this one's.
    """
    with (folder / "said").open("wb") as said:
        command = [sys.executable, "-P", "-c", _PROGRAM, moment, *words.split()]
        running = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=environment)
    try:
        os.waitid(os.P_PID, running.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    finally:
        running.kill()
    return running.wait() == -signal.SIGKILL
