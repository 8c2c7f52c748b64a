"""Keeps the image's /etc/ld.so.preload for the application: the launcher's own loader would read it too.

What it names is measured, and so no stranger's code; but it was made for the application's C library, not for the
launcher's, and the launcher holds keys that the application need not hold. The loader has no option against it.
"""

from __future__ import annotations

import os
from pathlib import Path

from kloister.errors import Unavailable
from kloister.formats.enclave.runtime import KLOISTER_ROOT

FILE = "etc/ld.so.preload"
_ASIDE = f"{KLOISTER_ROOT[1:]}/ld.so.preload"


def set_aside(root: Path = Path("/")) -> None:
    """Move the file, if the image has one, out of the loader's sight. Raises OSError."""
    _move(root / FILE, root / _ASIDE)


def put_back(root: Path = Path("/")) -> None:
    """Undo `set_aside`, once the launcher's loader has done its work.

    Raises:
        Unavailable: `preload-lost`.
    """
    try:
        _move(root / _ASIDE, root / FILE)
    except OSError as error:
        raise Unavailable("preload-lost", f"/{FILE} cannot be put back in its place: {error.strerror}.") from None


def _move(old: Path, new: Path) -> None:
    """Rename whatever it is; the directories keep the times that were measured."""
    if not os.path.lexists(old):
        return
    times = {parent: parent.stat().st_mtime_ns for parent in (old.parent, new.parent)}
    old.rename(new)
    for parent, time in times.items():
        os.utime(parent, ns=(time, time))
