# ruff: noqa: PTH101, PTH102, PTH112, PTH120, PTH211 -- system calls on paths of our own, beside mount(2), in one manner
"""The root of a sandbox: private memory, a new /proc, a small /dev, and nothing of the host's tree."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from kloister.errors import Denied, Unavailable
from kloister.formats.enclave.tree import Kind, Tree
from kloister.runtime.linux import mounts
from kloister.runtime.runner.host import Clones

_STAGES = ("/tmp", "/mnt", "/var", "/usr")  # noqa: S108 -- only mounted over, in a namespace of our own
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_STICKY = 0o1777


def swap_is_on(swaps: Path = Path("/proc/swaps")) -> bool:
    """Whether the kernel may write memory to a disk: then tmpfs is not private."""
    return len(swaps.read_text().splitlines()) > 1


def enter(memory: int, *, swap: bool) -> None:
    """Make an empty root in memory with its own /proc, move into it, and let the host's tree go.

    Args:
        memory: bytes that its files may take (tmpfs; a ramfs has no limit, its files are counted beforehand).
        swap: use a ramfs, which is never swapped.

    Raises:
        Unavailable: `sandbox-mounts`.
    """
    stage = next((path for path in _STAGES if Path(path).is_dir()), "/")
    try:
        mounts.make_private()
        if swap:
            mounts.mount("ramfs", stage, "ramfs", mounts.NO_SUID | mounts.NO_DEVICES, "mode=0755")
        else:
            _mount_tmpfs(stage, f"mode=0755,size={memory}")
        os.chdir(stage)
        for name in ("proc", "dev", "sys"):
            os.mkdir(name, 0o755)
        # while the old one is still in sight: the kernel allows a new /proc only to those who could see one before
        mounts.mount("proc", "proc", "proc", mounts.NO_SUID | mounts.NO_DEVICES | mounts.NO_EXECUTE)
        mounts.pivot_root(".", ".")
        mounts.unmount(".")
        os.chdir("/")
    except OSError as error:
        raise Unavailable(
            "sandbox-mounts", f"The sandbox's root could not be made: {error.strerror}.", "Run `kloister doctor`."
        ) from None


def _mount_tmpfs(stage: str, options: str) -> None:
    """Mount with large pages, which halve the time of filling, where the kernel has them; they round no size up."""
    try:
        mounts.mount("tmpfs", stage, "tmpfs", mounts.NO_SUID | mounts.NO_DEVICES, f"{options},huge=within_size")
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a kernel without them says
            raise
        mounts.mount("tmpfs", stage, "tmpfs", mounts.NO_SUID | mounts.NO_DEVICES, options)


def make_devices(clones: Clones) -> None:
    """Fill /dev: cloned device nodes, new pseudo-terminals, shared memory, the attestation directory."""
    os.mkdir("/dev/shm", _STICKY)  # noqa: S108 -- of the sandbox
    os.chmod("/dev/shm", _STICKY)  # noqa: S108 -- world-writable and sticky, as everywhere
    os.mkdir("/dev/pts", 0o755)
    os.mkdir("/dev/attestation", 0o755)
    mounts.mount(
        "devpts", "/dev/pts", "devpts", mounts.NO_SUID | mounts.NO_EXECUTE, "newinstance,ptmxmode=0666,mode=0620"
    )
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    for path, copy in clones.files.items():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        _attach(copy, path)


class Places:
    """Makes what is not of the measured tree, once the tree's directories stand and before any symlink does.

    Args:
        tree: the measured tree.
        clones: the named mounts.
        files: path -> bytes of the host's files, the enclave's documents and the host's words.
        writable: places that must exist for the application to write to.
        owner: uid and gid of places that the image does not have.
    """

    def __init__(
        self, tree: Tree, clones: Clones, files: dict[str, bytes], writable: Iterable[str], owner: tuple[int, int]
    ) -> None:
        self._other = {entry.path for entry in tree.entries if entry.kind is not Kind.DIRECTORY}
        self._clones, self._files, self._writable, self._owner = clones, files, tuple(writable), owner

    def __call__(self) -> None:
        """Make them all.

        Raises:
            Denied: `place-conflict`: the image has something else than a directory there.
        """
        for path, data in self._files.items():
            self._directory(os.path.dirname(path))
            with Path(path).open("xb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(data)
        for path in self._writable:
            if os.fsencode(path) not in self._other and not Path(path).exists():
                self._directory(path)
                os.chown(path, *self._owner)
        for path in self._clones.directories:
            self._directory(path)

    def share(self) -> None:
        """Attach the named mounts, once everything stands: nothing of the image is written into the host's directories.

        What the image has there is hidden, as in every container. No symlink is on the way: `__call__` refused it.
        """
        for path, copy in self._clones.directories.items():
            _attach(copy, path)

    def _directory(self, path: str) -> None:
        """The directory and its parents; nothing but directories exists yet, so no symlink is followed."""
        parts = os.fsencode(path).split(b"/")[1:]
        for depth in range(1, len(parts) + 1):
            step = b"/" + b"/".join(parts[:depth])
            if step in self._other:
                raise Denied(
                    "place-conflict",
                    f"The image has no directory at {os.fsdecode(step)!a}, where {path!a} has to be made.",
                    "Name the place by its real path, without symlinks, when converting.",
                )
            if step != b"/" and not os.path.isdir(step):
                os.mkdir(step, 0o755)


def _attach(copy: int, path: str) -> None:
    try:
        mounts.attach(copy, path)
    except OSError as error:
        raise Unavailable("sandbox-mounts", f"Nothing could be mounted at {path}: {error.strerror}.") from None
    os.close(copy)
