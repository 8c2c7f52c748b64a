"""Released files in a pod: always in memory, never on the node's disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kloister import clock, entropy
from kloister.errors import Unavailable
from kloister.formats.enclave.runtime import MEMORY
from kloister.runtime.launcher.placing import Root
from kloister.runtime.pod.mounts import Mount, holding

_FOLDER = "kloister-"  # a folder of released files: its name begins so
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACES = (MEMORY, "/dev/shm")  # noqa: S108 -- /dev/shm is the pod's: its other containers see it, too


class Memory:
    """Places files where memory is mounted; elsewhere a link to a file that is kept in memory.

    Args:
        mounts: of this container.
        places: directories to keep the others in, the best first.
    """

    def __init__(self, mounts: Sequence[Mount], places: Sequence[str] = _PLACES) -> None:
        self._mounts = mounts
        self._places = places
        self._folder = ""
        self._count = 0

    def file(self, path: bytes, content: bytes, mode: int, owner: tuple[int, int]) -> None:
        """A released file at `path`.

        Raises:
            Unavailable: `pod-secret-place`, `memory-full`.
            Denied: `place-refused`, `place-shared`.
        """
        mount = holding(os.fsdecode(path), self._mounts)
        inside = b"/" + path[len(os.fsencode(mount.point)) :].lstrip(b"/")
        try:
            with Root(mount.point) as root:
                if mount.memory:
                    root.file(inside, content, mode, owner)
                else:
                    root.symlink(inside, self._kept(content, mode, owner), owner, clock.unix())
        except Unavailable as error:
            if error.code != "place-failed":
                raise
            raise _no_place(path, error.text) from None

    def _kept(self, content: bytes, mode: int, owner: tuple[int, int]) -> bytes:
        self._folder = self._folder or self._make_folder()
        self._count += 1
        name = str(self._count).encode()
        with Root(self._folder) as root:
            root.file(b"/" + name, content, mode, owner)
        return os.fsencode(self._folder) + b"/" + name

    def _make_folder(self) -> str:
        for place in self._places:
            if not holding(place, self._mounts).memory:
                continue
            folder = f"{place}/{_FOLDER}{entropy.identifier()}"
            try:
                os.mkdir(folder, 0o700)  # noqa: PTH102 -- a text, as it becomes the target of a link
            except OSError:
                continue
            return folder
        raise Unavailable(
            "pod-secret-place",
            f"The pod has no memory to keep released files in: neither {' nor '.join(self._places)} can be written.",
            f"Mount an emptyDir of medium Memory at {MEMORY}.",
        )


def _no_place(path: bytes, why: str) -> Unavailable:
    shown = path[:200].decode("utf-8", "backslashreplace")
    return Unavailable(
        "pod-secret-place",
        f"The policy's file {shown} has no place in this pod. {why}",
        f"Mount an emptyDir of medium Memory at {os.path.dirname(shown)}, or name a path in such a place.",  # noqa: PTH120
    )


def forget_released(place: Path) -> None:
    """Remove the released files that earlier processes of this container kept here; nobody else has any.

    Raises:
        OSError: something cannot be removed.
    """
    for folder in place.glob(f"{_FOLDER}*"):
        clear(folder)
        folder.rmdir()


def clear(directory: str | Path) -> None:
    """Remove everything in a directory, whatever an application made of it; links are not followed.

    Raises:
        OSError: something cannot be removed, or the directory itself is a link.
    """
    top = os.open(directory, _LIST)
    try:
        while names := os.listdir(top):  # noqa: PTH208 -- of a descriptor, which pathlib does not know
            for name in names:
                _remove(name, top)
    finally:
        os.close(top)


def _remove(name: str, top: int) -> None:
    """Remove an entry; directories that are in it move up to the top first, so that none is ever too deep."""
    try:
        os.unlink(name, dir_fd=top)
    except IsADirectoryError:
        inside = _opened(name, top)
        try:
            for child in os.listdir(inside):  # noqa: PTH208 -- as above
                _lift(child, inside, top)
        finally:
            os.close(inside)
        os.rmdir(name, dir_fd=top)


def _lift(child: str, inside: int, top: int) -> None:
    try:
        os.unlink(child, dir_fd=inside)
    except IsADirectoryError:
        os.close(_opened(child, inside))  # only a directory that may be written can be moved
        os.rename(child, f"{_FOLDER}{entropy.identifier()}", src_dir_fd=inside, dst_dir_fd=top)


def _opened(name: str, parent: int) -> int:
    """A directory that was given all its user's permissions."""
    found = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        itself = f"/proc/self/fd/{found}"
        os.chmod(itself, 0o700)  # noqa: PTH101 -- what was opened, whoever has the name by now
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(found)
