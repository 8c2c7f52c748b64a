from __future__ import annotations

import errno
import os
import struct

import pytest

from kloister.runtime.linux import seccomp, syscalls

_ALLOW, _NOTIFY, _KILL = 0x7FFF0000, 0x7FC00000, 0x80000000
_X86_64, _I386 = 0xC000003E, 0x40000003


def _errno(number: int) -> int:
    return 0x00050000 | number


def _run(program: bytes, number: int, *arguments: int, architecture: int = _X86_64) -> int:
    """What the filter answers: an interpreter of the four instructions that it is made of."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("<HBBI", program))
    accumulator, position = 0, 0
    while True:
        code, yes, no, value = steps[position]
        position += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
            continue
        met = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
        position += yes if met else no


@pytest.fixture(params=[True, False], ids=["notify", "silent"])
def program(request: pytest.FixtureRequest) -> bytes:
    return seccomp.program(notify=request.param)


@pytest.mark.parametrize("name", sorted(syscalls.DENIED))
def test_denied_calls(program: bytes, name: str) -> None:
    assert _run(program, syscalls.DENIED[name]) == _errno(errno.EPERM)


def test_what_the_issue_asks_for_is_denied() -> None:
    assert {
        "ptrace", "process_vm_readv", "process_vm_writev", "bpf", "keyctl", "add_key", "request_key", "kexec_load",
        "mount", "umount2", "pivot_root", "unshare", "setns", "open_by_handle_at", "io_uring_setup", "perf_event_open",
        "userfaultfd", "init_module", "finit_module", "pidfd_getfd",
    } <= set(syscalls.DENIED)  # fmt: skip


def test_ordinary_calls_are_allowed(program: bytes) -> None:
    known = {*syscalls.DENIED.values(), *syscalls.WRITES, syscalls.CLONE3}
    for number in set(range(450)) - known:
        assert _run(program, number) == _ALLOW, number


def test_new_processes_but_no_new_namespaces(program: bytes) -> None:
    assert _run(program, syscalls.CLONE, 0x01200011) == _ALLOW  # fork
    assert _run(program, syscalls.CLONE, 0x003D0F00) == _ALLOW  # a thread
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert _run(program, syscalls.CLONE, flag | 17) == _errno(errno.EPERM), hex(flag)
    assert _run(program, syscalls.CLONE3, 0) == _errno(errno.ENOSYS)


def test_other_architectures(program: bytes) -> None:
    assert _run(program, 39, architecture=_I386) == _KILL
    assert _run(program, 0x40000000 | 39) == _errno(errno.EPERM)
    assert _run(program, 0xFFFFFFFF) == _errno(errno.EPERM)


def test_typing_on_the_terminal(program: bytes) -> None:
    assert _run(program, syscalls.IOCTL, 0, 0x5412) == _errno(errno.EPERM)
    assert _run(program, syscalls.IOCTL, 0, 0x100005412) == _errno(errno.EPERM)  # the kernel looks at the low half
    assert _run(program, syscalls.IOCTL, 0, 0x541C) == _errno(errno.EPERM)
    assert _run(program, syscalls.IOCTL, 0, 0x5401) == _ALLOW


def test_writes_are_reported_only_to_a_listener() -> None:
    loud, silent = seccomp.program(notify=True), seccomp.program(notify=False)
    for number in syscalls.WRITES:
        assert (_run(loud, number), _run(silent, number)) == (_NOTIFY, _ALLOW)
    for number, before in ((syscalls.OPEN, (0,)), (syscalls.OPENAT, (0, 0))):
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_WRONLY | os.O_CLOEXEC):
            assert _run(loud, number, *before, flags) == _NOTIFY
            assert _run(silent, number, *before, flags) == _ALLOW
        for flags in (os.O_RDONLY, os.O_CLOEXEC | os.O_DIRECTORY, os.O_NONBLOCK):
            assert _run(loud, number, *before, flags) == _ALLOW
