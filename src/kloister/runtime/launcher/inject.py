"""Step 5: the released environment, arguments and files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from kloister.errors import Denied
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.protocol.bundle import Bundle, SecretFile

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # as other container runtimes
_NEVER = ("/.kloister", "/proc", "/sys", "/dev/attestation")
_MAX_PASSWD = 1 << 20  # bytes of the image's /etc/passwd that are read


def environment(launch: LaunchDocument, slots: Mapping[str, str], bundle: Bundle, home: str) -> dict[str, str]:
    """The application's variables: the image's, over them the host's choices, over them the released ones."""
    image = dict(item.split("=", 1) for item in launch.image.environment)
    return {"PATH": DEFAULT_PATH, "HOME": home, **image, **slots, **bundle.environment}


def home_of(root: Path, uid: int) -> str:
    """The home directory that the image's own /etc/passwd gives to `uid`, else `/`."""
    try:
        with (root / "etc/passwd").open("rb") as stream:
            text = stream.read(_MAX_PASSWD).decode("utf-8", "replace")
    except OSError:
        return "/"
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[2] == str(uid):  # noqa: PLR2004 -- passwd(5)
            return fields[5] or "/"
    return "/"


class Placer(Protocol):
    """What writes a released file: the sandbox's root, or a pod's memory."""

    def file(self, path: bytes, content: bytes, mode: int, owner: tuple[int, int]) -> None:
        """Write one."""


def place_files(root: Placer, files: Iterable[SecretFile], launch: LaunchDocument) -> None:
    """Write the released files.

    Raises:
        Denied: `secret-path`, where a file must not go; `place-refused`, a link is in the way.
        Unavailable: `memory-full`.
    """
    shared = (*launch.host_files, *launch.mounts.values())
    for file in files:
        _check(file.path, shared)
        root.file(file.path.encode("utf-8"), file.content, file.mode, (file.owner, file.group))


def _check(path: str, shared: Iterable[str]) -> None:
    parts = path.split("/")
    if not path.startswith("/") or {"", ".", ".."} & set(parts[1:]):
        raise _refused(path, "it is not an absolute, normal path")
    if _below(path, _NEVER):
        raise _refused(path, "that place is not for files of the policy")
    if _below(path, shared):
        raise _refused(path, "the host can read that place")


def _below(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _refused(path: str, why: str) -> Denied:
    return Denied(
        "secret-path",
        f"The policy's file {path[:200]!r} cannot be placed: {why}.",
        "Change its path in the policy (services: files).",
    )
