"""Write leases: whoever opens the file waits until the holder has made its content (fcntl(2), "Leases").

They need no privileges: a file of this process's own user, and `fs.leases-enable` (on by default, Linux 2.4 and newer).
Where the holder ends or is silent for `fs.lease-break-time` (45 s), the kernel lets the waiting ones go on.
"""

from __future__ import annotations

import fcntl
import signal

SIGNAL = signal.SIGIO
"""Sent to the process that took a lease when somebody waits; several at once may be one."""


def take(descriptor: int) -> None:
    """Lease a file that nobody else has open; OSError where somebody has, or the file system knows no leases."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)


def awaited(descriptor: int) -> bool:
    """Whether somebody waits for this leased file; `stat` and other calls that open nothing do not count."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_WRLCK


def give_up(descriptor: int) -> None:
    """Let the waiting ones go on."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
