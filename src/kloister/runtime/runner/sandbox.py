"""What the processes of one sandbox share: made outside by the monitor, inherited by its children through fork."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kloister.errors import Denied, Malformed
from kloister.formats.enclave.tree import Kind, Tree
from kloister.formats.protocol.spawner import DESCRIPTORS, StartRequest
from kloister.runtime.runner import host, idmap, root
from kloister.runtime.runner.idmap import IdMap
from kloister.runtime.runner.pack import Pack

ALWAYS_WRITABLE = ("/dev", "/proc")  # what may be written there is decided by the devices' and processes' own modes


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The descriptors of a start request (`formats.protocol.spawner.DESCRIPTORS`)."""

    channel: int
    pal: int
    pack: int
    enclave: int
    stdin: int
    stdout: int
    stderr: int
    mounts: tuple[int, ...] = ()

    @classmethod
    def of(cls, numbers: Sequence[int], mounts: int) -> Descriptors:
        """From the list that came with the request.

        Raises:
            Malformed: `start-descriptors`.
        """
        fixed = len(DESCRIPTORS)
        if len(numbers) != fixed + mounts:
            raise Malformed("start-descriptors", f"A start request came with {len(numbers)} descriptors.")
        channel, pal, pack, enclave, stdin, stdout, stderr = numbers[:fixed]
        return cls(channel, pal, pack, enclave, stdin, stdout, stderr, tuple(numbers[fixed:]))


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that is known before the first process of the sandbox exists.

    Attributes:
        arguments: the argument vector of the first process.
        shown: (place inside, descriptor) of each named mount.
        swap: the machine swaps, so private memory must be a ramfs.
    """

    request: StartRequest
    descriptors: Descriptors
    arguments: tuple[str, ...]
    pack: Pack
    ids: IdMap
    shown: tuple[tuple[str, int], ...]
    swap: bool

    @classmethod
    def draw(cls, request: StartRequest, descriptors: Descriptors, arguments: tuple[str, ...]) -> Blueprint:
        """Check what can be checked outside.

        Raises:
            Malformed, Denied: of the pack; Denied: `mount-unknown`; Misconfigured: `image-needs-more-users`.
        """
        pack = Pack.open(descriptors.pack, request.manifest)
        pack.require_first_code(descriptors.pal)
        user = pack.launch.image.user
        ids = idmap.choose(user.uid, user.gid)
        if not ids.holds(user.uid, user.gid) or (ids.single and user.groups):
            raise idmap.needs_more_users(f"The image runs as user {user.uid}:{user.gid} with groups {user.groups}")
        shown = tuple(zip(_places(pack.launch.mounts, request.mounts), descriptors.mounts, strict=True))
        return cls(request, descriptors, arguments, pack, ids, shown, root.swap_is_on())

    @property
    def writable(self) -> tuple[str, ...]:
        """Where Landlock lets the application write."""
        return (*self.pack.launch.writable, *(place for place, _ in self.shown), *ALWAYS_WRITABLE)

    def files(self) -> dict[str, bytes]:
        """Files that are not of the tree: the host's, the enclave's documents, the host's words; to be read outside."""
        enclave = "/.kloister/enclave"
        return {
            **host.text_files(self.pack.launch.host_files),
            f"{enclave}/manifest.sgx": self.request.manifest,
            f"{enclave}/sigstruct": self.pack.sigstruct,
            f"{enclave}/tree": self.pack.tree,
            f"{enclave}/launch.json": self.pack.launch_bytes,
            "/.kloister/host.json": json.dumps(self.request.host.build()).encode(),
        }

    def require_users(self, tree: Tree) -> None:
        """Refuse a tree whose owners cannot exist inside, or whose application is bound to switch users in vain.

        An image that starts as root and has a writable place of another user switches to that user.

        Raises:
            Misconfigured: `image-needs-more-users`.
        """
        user = self.pack.launch.image.user
        places = tuple(place.encode() for place in self.pack.launch.writable)
        for entry in tree.entries:
            if not self.ids.single:
                if not self.ids.holds(entry.uid, entry.gid):
                    raise idmap.needs_more_users(f"{entry.path.decode('utf-8', 'replace')} belongs to user {entry.uid}")
            elif user.uid == 0 and entry.kind is Kind.DIRECTORY and entry.uid and entry.path in places:
                raise idmap.needs_more_users(f"The image starts as root and switches to user {entry.uid}")


def _places(known: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in known:
            raise Denied(
                "mount-unknown",
                f"The image allows no mount of the name {name!a}.",
                f"It allows: {', '.join(sorted(known)) or 'none'}. Convert with --mount {name}=/PATH to allow it.",
            )
    return [known[name] for name in wanted]
