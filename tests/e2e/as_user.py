"""Run a command as another user whose /etc/passwd, subuid and subgid are given files; needs root.

Arguments: uid, directory of the files, command and its arguments.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kloister.runtime.linux import mounts, process

_BIND = 4096  # MS_BIND, mount(2)


def main() -> None:
    uid, files, command = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    process.unshare(process.NEW_MOUNT)
    mounts.make_private()
    for file in files.iterdir():
        mounts.mount(str(file), f"/etc/{file.name}", flags=_BIND)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.execvp(command[0], command)  # noqa: S606 -- no shell is wanted


if __name__ == "__main__":
    main()
