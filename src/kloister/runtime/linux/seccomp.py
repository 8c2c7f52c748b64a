"""The seccomp filter of an enclave's processes: what is refused, and which writes the log is told of.

The filter is data (`program`), made without asking the kernel, and installed by the process that it is to bind.
Source: Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/{seccomp,filter,audit}.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from kloister.runtime.linux import syscalls
from kloister.runtime.linux.calls import SECCOMP, syscall

_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 1 << 3
_FLAG_WAIT_KILLABLE = 1 << 5  # Linux 5.19: a signal does not tear a call away from the one who looks at it

_ALLOW = 0x7FFF0000
_NOTIFY = 0x7FC00000
_ERRNO = 0x00050000
_KILL_PROCESS = 0x80000000

_ARCHITECTURE = 0xC000003E  # AUDIT_ARCH_X86_64
_X32 = 0x40000000  # __X32_SYSCALL_BIT

# struct seccomp_data
_AT_NUMBER, _AT_ARCHITECTURE, _AT_ARGUMENTS = 0, 4, 16

# linux/filter.h
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_WRITE_INTENT = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing on the caller's terminal


def program(*, notify: bool) -> bytes:
    """The filter as an array of `struct sock_filter` (8 bytes each).

    Refused with EPERM: `syscalls.DENIED`, clone with a new namespace, the x32 ABI, typing on a terminal. clone3 is
    ENOSYS, so that the C library falls back to clone, whose flags a filter can see. Another architecture is killed.

    Args:
        notify: have calls that mean to write reported to the listener. The listener decides nothing: what is
            refused is Landlock's affair, the report feeds the log.
    """
    code = [_step(_LOAD, _AT_ARCHITECTURE), _step(_EQUAL, _ARCHITECTURE, yes=1), _step(_RETURN, _KILL_PROCESS)]
    code += [_step(_LOAD, _AT_NUMBER), _step(_AT_LEAST, _X32, no=1), _refuse(errno.EPERM)]
    for number in sorted(syscalls.DENIED.values()):
        code += [_step(_EQUAL, number, no=1), _refuse(errno.EPERM)]
    code += [_step(_EQUAL, syscalls.CLONE3, no=1), _refuse(errno.ENOSYS)]
    code += _with_argument(syscalls.CLONE, 0, [_step(_ANY_BIT, _NEW_NAMESPACES, no=1), _refuse(errno.EPERM)])
    for request in _TERMINAL_INJECTION:
        code += _with_argument(syscalls.IOCTL, 1, [_step(_EQUAL, request, no=1), _refuse(errno.EPERM)])
    if notify:
        code += _reported()
    code.append(_step(_RETURN, _ALLOW))
    return b"".join(code)


def install(filter_program: bytes, *, notify: bool) -> int | None:
    """Bind this thread and its descendants to the filter, for good; `no_new_privileges` must have been called.

    Returns:
        With `notify`, the listener's descriptor (close-on-exec), to be handed to the process that keeps the log: a
        reported call waits until it is answered.

    Raises:
        OSError: the kernel has no seccomp filters, or (EBUSY) another listener exists.
    """
    memory = ctypes.create_string_buffer(filter_program, len(filter_program))
    # struct sock_fprog: a count of 8-byte instructions, padding, a pointer
    header = struct.pack("<HxxxxxxQ", len(filter_program) // 8, ctypes.addressof(memory))
    if not notify:
        syscall(SECCOMP, _SET_MODE_FILTER, 0, header)
        return None
    try:
        return syscall(SECCOMP, _SET_MODE_FILTER, _FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE, header)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return syscall(SECCOMP, _SET_MODE_FILTER, _FLAG_NEW_LISTENER, header)


def _reported() -> list[bytes]:
    code: list[bytes] = []
    for number in syscalls.WRITES:
        code += [_step(_EQUAL, number, no=1), _step(_RETURN, _NOTIFY)]
    writes = [_step(_ANY_BIT, _WRITE_INTENT, no=1), _step(_RETURN, _NOTIFY)]
    return code + _with_argument(syscalls.OPEN, 1, writes) + _with_argument(syscalls.OPENAT, 2, writes)


def _with_argument(number: int, index: int, test: list[bytes]) -> list[bytes]:
    """Run `test` on the low half of an argument of one call, and have the number loaded again afterwards."""
    load = _step(_LOAD, _AT_ARGUMENTS + 8 * index)
    body = [load, *test, _step(_LOAD, _AT_NUMBER)]
    return [_step(_EQUAL, number, no=len(body)), *body]


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)
