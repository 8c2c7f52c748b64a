"""Who sent a message: a live process of the enclave's own pid namespace, or nobody.

The kernel says it (SCM_PIDFD with each chunk of a stream), never the message, and never a bare pid: a pidfd names one
process for ever, however often its number is given away again. Numbers: linux/asm-generic/socket.h and linux/pidfd.h.

A sender can have the kernel name another process (SCM_CREDENTIALS, unix(7)) only with CAP_SYS_ADMIN over its own pid
namespace, and only a process that is visible there: the enclave itself, or the machine's root, who is not held off.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kloister.errors import Denied

SO_PASSPIDFD = 76  # Linux 6.5
SCM_PIDFD = 0x04  # Linux 6.5
_GET_PID_NAMESPACE = 0xFF05  # PIDFD_GET_PID_NAMESPACE, _IO(0xFF, 5), Linux 6.11
PIDFD = "pidfd"
INHERITED_ONLY = "inherited-socket-only"
ROOM = socket.CMSG_SPACE(253 * 4) + socket.CMSG_SPACE(4)  # bytes: SCM_RIGHTS at its greatest and one SCM_PIDFD

Ancillary = Iterable[tuple[int, int, bytes]]


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace by device and inode of nsfs; comparable only while something keeps it alive."""

    device: int
    inode: int

    @classmethod
    def of(cls, descriptor: int) -> Namespace:
        """The namespace that an open descriptor names."""
        status = os.fstat(descriptor)
        return cls(status.st_dev, status.st_ino)

    @classmethod
    def of_self(cls) -> Namespace:
        """The pid namespace of this very process."""
        status = Path("/proc/self/ns/pid").stat()
        return cls(status.st_dev, status.st_ino)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What came beside a chunk: the sender's pidfd (None if the kernel gave none) and descriptors passed along."""

    pidfd: int | None
    passed: tuple[int, ...]
    exited: bool = False

    def close(self) -> None:
        """Close everything that was received."""
        for descriptor in (*self.passed, *(() if self.pidfd is None else (self.pidfd,))):
            os.close(descriptor)


def credentials(ancillary: Ancillary) -> Credentials:
    """Sort out the ancillary data of one recvmsg; the caller closes what came."""
    pidfds, passed = array.array("i"), array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind in (SCM_PIDFD, socket.SCM_RIGHTS):
            (pidfds if kind == SCM_PIDFD else passed).frombytes(data[: len(data) // 4 * 4])
    # The kernel writes a negative errno where the sender is gone already.
    exited = any(number < 0 for number in pidfds)
    valid = [number for number in pidfds if number >= 0]
    if exited or len(valid) != 1:
        return Credentials(None, (*passed, *valid), exited)
    return Credentials(valid[0], tuple(passed))


def alive(pidfd: int) -> bool:
    """Whether the process has not exited: a pidfd becomes readable then (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def open_pid_namespace(pidfd: int) -> int:
    """A descriptor of the pid namespace of a process that lives; the caller closes it. Raises OSError."""
    try:
        return fcntl.ioctl(pidfd, _GET_PID_NAMESPACE, 0)
    except OSError:
        return os.open(f"/proc/{number(pidfd)}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)


def namespace_by_ioctl(pidfd: int) -> Namespace:
    """The pid namespace of a process, asked of its pidfd; OSError where kernel or process do not give it."""
    descriptor = fcntl.ioctl(pidfd, _GET_PID_NAMESPACE, 0)
    try:
        return Namespace.of(descriptor)
    finally:
        os.close(descriptor)


def namespace_by_proc(pidfd: int) -> Namespace:
    """The same by way of /proc, for Linux before 6.11.

    The number may have been given to another process by now: the caller must find the pidfd alive *after* this call,
    which proves that the number was still its own.
    """
    status = Path(f"/proc/{number(pidfd)}/ns/pid").stat()
    return Namespace(status.st_dev, status.st_ino)


def number(pidfd: int) -> int:
    """The process's number here. Raises ProcessLookupError where it has ended."""
    found = _numbers(pidfd, "Pid:")[0]
    if found > 0:
        return found
    raise ProcessLookupError


def _numbers(pidfd: int, name: str) -> list[int]:
    """The numbers that fdinfo gives a process: `Pid:` here, `NSpid:` in this and in every deeper pid namespace."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return [int(number) for number in line.removeprefix(name).split()]
    raise ProcessLookupError


def pid_namespace(pidfd: int) -> Namespace:
    """The pid namespace of a process by the best way that this kernel has; OSError where there is none."""
    try:
        return namespace_by_ioctl(pidfd)
    except OSError:
        return namespace_by_proc(pidfd)


def check(who: Credentials, own: Namespace, read: Callable[[int], Namespace] = pid_namespace) -> None:
    """Refuse everyone but a live process whose pid namespace is exactly `own`.

    Args:
        who: what came beside the chunk.
        own: the enclave's pid namespace, kept open by the daemon so that its inode is not given away.
        read: how the namespace of a pidfd is found.

    Raises:
        Denied: `caller-descriptors`, `caller-exited`, `caller-unknown`, `caller-outside`.
    """
    if _seen(who, read) != own:
        raise Denied(
            "caller-outside",
            "The sender is not a process of this enclave: its pid namespace is another.",
            "Only the enclave's own processes get quotes, reports and keys; run the program inside.",
        )


def check_first(who: Credentials) -> Namespace:
    """Refuse everyone but the first process of a pid namespace other than this one, which is returned.

    Args:
        who: what came beside the chunk.

    Raises:
        Denied: as `check`; `caller-not-first`.
    """
    numbers: list[int] = []

    def read(pidfd: int) -> Namespace:
        numbers.extend(_numbers(pidfd, "NSpid:"))
        return pid_namespace(pidfd)

    seen = _seen(who, read)
    if seen is None or len(numbers) < 2 or numbers[-1] != 1:  # noqa: PLR2004 (this namespace and a deeper one)
        raise Denied(
            "caller-not-first",
            "The sender is not the first process of a container with processes of its own.",
            "Start the image by its own entry point, without hostPID and without shareProcessNamespace.",
        )
    return seen


def _seen(who: Credentials, read: Callable[[int], Namespace]) -> Namespace | None:
    """The pid namespace of a live sender; None where it cannot be read."""
    if who.exited:
        raise caller_exited()
    if who.passed:
        raise Denied("caller-descriptors", "A descriptor was passed on an enclave's socket.", "Send messages only.")
    if who.pidfd is None:
        raise Denied("caller-unknown", "The kernel did not say who sent the message.", "See `kloister doctor`.")
    try:
        seen = read(who.pidfd)
    except OSError:
        seen = None
    if not alive(who.pidfd):  # after reading: only a live process proves that what was read was its own
        raise caller_exited()
    return seen


def caller_exited() -> Denied:
    """The refusal of a sender that is gone."""
    return Denied(
        "caller-exited",
        "The process that sent the message has ended, so nobody can say that it was the enclave.",
        "Keep the asking process alive until the answer is there.",
    )


def mechanism() -> str:
    """`pidfd` where this kernel names senders, `inherited-socket-only` otherwise."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        try:
            left.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
            right.send(b"\0")
            _, ancillary, _, _ = left.recvmsg(1, ROOM, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return INHERITED_ONLY
    who = credentials(ancillary)
    try:
        check(who, Namespace.of_self())
    except (Denied, OSError):
        return INHERITED_ONLY
    finally:
        who.close()
    return PIDFD


def ask_for_senders(sock: socket.socket) -> None:
    """Have the kernel name the sender of each chunk; accepted sockets inherit it from their listener."""
    sock.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
