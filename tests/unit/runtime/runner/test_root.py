"""The empty root of a sandbox, made in a child with namespaces of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kloister.runtime.linux import process
from kloister.runtime.runner import root


def _inside(act: Callable[[], str]) -> str:
    """What `act` says as pid 1 of new namespaces, whose root is the caller."""
    reading, writing = os.pipe()
    outer = os.fork()
    if outer == 0:
        try:
            uid, gid = os.geteuid(), os.getegid()
            process.unshare(process.NEW_USER | process.NEW_MOUNT | process.NEW_PID)
            for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                Path(f"/proc/self/{name}").write_text(line)
            if os.fork() == 0:
                os.write(writing, act().encode())
            else:
                os.wait()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(outer, 0)
    return said


@pytest.mark.parametrize(("swap", "kind"), [(False, "tmpfs"), (True, "ramfs")])
def test_the_root_is_private_memory(swap: bool, kind: str) -> None:  # noqa: FBT001 -- a parameter of the test
    def act() -> str:
        root.enter(1 << 20, swap=swap)
        names = " ".join(sorted(path.name for path in Path("/").iterdir()))
        return names + "\n" + Path("/proc/self/mountinfo").read_text()

    names, *mounts = _inside(act).splitlines()
    assert names == "dev proc sys"
    assert len(mounts) == 2  # the root and its /proc; nothing of the host
    assert f" - {kind} " in next(line for line in mounts if " / / " in line)


def test_a_tmpfs_ends_at_the_measured_memory() -> None:
    def act() -> str:
        root.enter(1 << 20, swap=False)
        try:
            Path("/big").write_bytes(bytes(2 << 20))
        except OSError as error:
            return str(error.strerror)
        return "written"

    assert _inside(act) == "No space left on device"


def test_swap_is_read_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "swaps").write_text("Filename\tType\n")
    assert not root.swap_is_on(tmp_path / "swaps")
    (tmp_path / "swaps").write_text("Filename\tType\n/swapfile file\n")
    assert root.swap_is_on(tmp_path / "swaps")
