"""Private entries in a pod: decrypted into memory of this container alone, to which the image's measured links lead."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from kloister.errors import Denied, Malformed, Misconfigured, Unavailable
from kloister.formats.enclave.launch import Private
from kloister.formats.enclave.runtime import ENCLAVE_ROOT, MEMORY, PRIVATE_PARTS, PRIVATE_ROOT
from kloister.runtime.launcher.placing import Root
from kloister.runtime.pod.memory import clear, forget_released
from kloister.runtime.pod.mounts import Mount

_HINT = f"Annotate the pod with kloister.dev/private-memory: SIZE, or mount an emptyDir of medium Memory at {MEMORY}."


def require_place(private: Private, mounts: Iterable[Mount]) -> None:
    """Refuse a pod in which there is no place for private entries, before anything is asked of anybody.

    Raises:
        Misconfigured: `pod-private`, the image has no links; `pod-private-memory`, no memory is mounted.
    """
    if not private.links:
        raise Misconfigured(
            "pod-private",
            "The image has encrypted layers, which an ordinary container cannot decrypt into its root.",
            "Convert it with --private-links, or run it with `kloister run`.",
        )
    if Mount(MEMORY, memory=True) not in mounts:
        text = f"The image has private files, and the container has no memory at {MEMORY} to decrypt them into."
        raise Misconfigured("pod-private-memory", text, _HINT)


def place(private: Private, keys: Mapping[str, bytes], memory: Path = Path(MEMORY), image: Path = Path("/")) -> None:
    """Decrypt, check and place all private entries, in place of those that an earlier process of the container left.

    Args:
        private: the measured description.
        keys: the released keys by the names of their secrets.
        memory: where the memory is mounted.
        image: the container's root.

    Raises:
        Unavailable: `pod-private-memory`: it is too small.
        Denied: `pod-private-memory`: somebody else has put something there; as `place_private`.
        Unverified, Malformed: as `place_private`.
    """
    from kloister.runtime.launcher.private import TREE, place_private  # noqa: PLC0415 -- 20 ms that other images save

    def part(name: str) -> bytes:
        folder = ENCLAVE_ROOT if name == TREE else PRIVATE_PARTS
        try:
            return (image / folder[1:] / name).read_bytes()
        except OSError as error:
            text = f"The encrypted part {name} cannot be read: {error.strerror}."
            raise Malformed("private-missing", text, "Pull the image again.") from None

    _empty(memory / PRIVATE_ROOT.removeprefix(f"{MEMORY}/"))
    try:
        with Root(str(memory)) as root:
            place_private(root, part, private, keys, PRIVATE_ROOT.removeprefix(MEMORY).encode())
    except Unavailable as error:
        if error.code != "memory-full":
            raise
        text = f"The private files need more memory than is mounted at {MEMORY}."
        raise Unavailable("pod-private-memory", text, _HINT) from None


def _empty(directory: Path) -> None:
    """A directory that nobody else may change, with nothing in it, and nothing of an earlier process beside it."""
    try:
        directory.mkdir(mode=0o755, exist_ok=True)
        if directory.lstat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(directory))
        clear(directory)
        directory.chmod(0o755)
        forget_released(directory.parent)
    except OSError as error:
        text = f"{directory} was made by somebody else ({error.filename}: {error.strerror})."
        raise Denied("pod-private-memory", text, "Let no two containers share this volume.") from None
