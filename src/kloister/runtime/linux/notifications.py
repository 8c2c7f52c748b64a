"""Reading and answering what a seccomp filter reports (seccomp_unotify(2))."""

from __future__ import annotations

import errno
import fcntl
import struct
from dataclasses import dataclass

# include/uapi/linux/seccomp.h; the numbers are _IOWR('!', n, size)
_RECEIVE = 0xC0502100  # struct seccomp_notif, 80 bytes
_SEND = 0xC0182101  # struct seccomp_notif_resp, 24 bytes
_ID_VALID = 0x40082102
_SET_FLAGS = 0x40082104  # Linux 6.6
_SYNC_WAKE_UP = 1
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_NOTIFICATION = struct.Struct("<QIIiIQ6Q")  # id, pid, flags, then struct seccomp_data
_ANSWER = struct.Struct("<QqiI")


@dataclass(frozen=True, slots=True)
class Notification:
    """A system call that waits.

    Attributes:
        identity: the kernel's cookie for this call.
        pid: the caller, in the reader's pid namespace.
        number: of the system call.
        arguments: the six registers.
    """

    identity: int
    pid: int
    number: int
    arguments: tuple[int, ...]


def receive(listener: int) -> Notification | None:
    """The next waiting call; None where its caller ended meanwhile."""
    buffer = bytearray(_NOTIFICATION.size)  # the kernel insists on zeros
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EINTR}:
            return None
        raise
    identity, pid, _flags, number, _architecture, _pointer, *arguments = _NOTIFICATION.unpack(buffer)
    return Notification(identity, pid, number, tuple(arguments))


def still_waits(listener: int, notification: Notification) -> bool:
    """Whether what was read of the caller's memory was the caller's: its pid has not passed to another."""
    try:
        fcntl.ioctl(listener, _ID_VALID, struct.pack("<Q", notification.identity))
    except OSError:
        return False
    return True


def let_continue(listener: int, notification: Notification) -> None:
    """Have the kernel carry out the call as if there were no listener."""
    try:
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(notification.identity, 0, 0, _CONTINUE))
    except OSError as error:
        if error.errno != errno.ENOENT:  # the caller ended meanwhile
            raise


def wake_at_once(listener: int) -> None:
    """Ask for a switch to the waiting process without a detour through the scheduler, where the kernel can."""
    try:
        fcntl.ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTTY}:
            raise
