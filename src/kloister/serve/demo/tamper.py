"""What whoever holds the registry or the disk can do to an image: change it and mend every digest of OCI.

This is the attacker's tool of the demo and of the tests. It reads and writes OCI layouts by itself, so that our own
reader is not asked whether it likes the result.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloister.errors import Misused


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a layer's tar: its header and, for a regular file, its bytes."""

    info: tarfile.TarInfo
    content: bytes = b""


Edit = Callable[[list[Member]], list[Member]]


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """A copy of an OCI layout that may be changed at will."""

    def __init__(self, original: Path, copy_at: Path) -> None:
        shutil.copytree(original, copy_at)
        self.path = copy_at
        index = json.loads((copy_at / "index.json").read_bytes())
        self._entry = index["manifests"][0]
        self._index = index
        self.manifest: dict[str, Any] = json.loads(self.blob(self._entry["digest"]))

    def blob(self, digest: str) -> bytes:
        """The bytes behind a digest."""
        return (self.path / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()

    def put(self, data: bytes) -> str:
        """Store bytes; their digest."""
        digest = _digest(data)
        (self.path / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(data)
        return digest

    def replace_layer(self, number: int, blob: bytes, diff_id: str | None) -> None:
        """Put another blob in a layer's place and mend the digests above it."""
        layer = self.manifest["layers"][number]
        layer["digest"], layer["size"] = self.put(blob), len(blob)
        if diff_id is not None:
            config = json.loads(self.blob(self.manifest["config"]["digest"]))
            config["rootfs"]["diff_ids"][number] = diff_id
            data = json.dumps(config).encode()
            self.manifest["config"].update(digest=self.put(data), size=len(data))
        self._save()

    def _save(self) -> None:
        data = json.dumps(self.manifest).encode()
        self._entry.update(digest=self.put(data), size=len(data))
        (self.path / "index.json").write_text(json.dumps(self._index))


def _members(blob: bytes) -> list[Member]:
    data = gzip.decompress(blob) if blob[:2] == b"\x1f\x8b" else blob
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [Member(info, _content(tar, info)) for info in tar]


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info) if info.isreg() else None
    return file.read() if file else b""


def _tar(members: list[Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            member.info.size = len(member.content)
            tar.addfile(member.info, io.BytesIO(member.content))
    return buffer.getvalue()


def edit(layout: Layout, path: str, change: Edit) -> None:
    """Rewrite the topmost plain layer that holds `path` (without a leading slash) by `change`."""
    for number in range(len(layout.manifest["layers"]) - 1, -1, -1):
        layer = layout.manifest["layers"][number]
        if layer["mediaType"].endswith("+encrypted"):
            continue
        blob = layout.blob(layer["digest"])
        members = _members(blob)
        if any(_name(member) == path for member in members):
            data = _tar(change(members))
            layout.replace_layer(number, gzip.compress(data, 1) if blob[:2] == b"\x1f\x8b" else data, _digest(data))
            return
    raise Misused("tamper-path", f"No plain layer of the image holds {path}.")


def _name(member: Member) -> str:
    return member.info.name.removeprefix("./").rstrip("/")


def _on(path: str, change: Callable[[Member], list[Member]]) -> Edit:
    def apply(members: list[Member]) -> list[Member]:
        return [new for member in members for new in (change(member) if _name(member) == path else [member])]

    return apply


def change_byte(path: str) -> Edit:
    """The last byte of a file becomes another one."""
    return _on(path, lambda m: [Member(m.info, m.content[:-1] + bytes([m.content[-1] ^ 1]))])


def remove(path: str) -> Edit:
    """The entry is left out."""
    return _on(path, lambda _: [])


def change_mode(path: str, mode: int) -> Edit:
    """The entry gets other permission bits."""

    def change(member: Member) -> list[Member]:
        info = copy.copy(member.info)
        info.mode = mode
        return [Member(info, member.content)]

    return _on(path, change)


def change_target(path: str, target: str) -> Edit:
    """A symbolic link leads elsewhere."""

    def change(member: Member) -> list[Member]:
        info = copy.copy(member.info)
        info.linkname = target
        info.pax_headers = {}
        return [Member(info)]

    return _on(path, change)


def add_beside(path: str, name: str, content: bytes) -> Edit:
    """A new file with the header of `path` under another name."""

    def change(member: Member) -> list[Member]:
        info = copy.copy(member.info)
        info.name = name
        info.pax_headers = {}
        return [member, Member(info, content)]

    return _on(path, change)


def replace_content(path: str, content: bytes) -> Edit:
    """A file gets other bytes."""
    return _on(path, lambda m: [Member(m.info, content)])


def flip_encrypted_byte(layout: Layout) -> None:
    """One bit in the middle of the first encrypted layer."""
    for number, layer in enumerate(layout.manifest["layers"]):
        if layer["mediaType"].endswith("+encrypted"):
            blob = bytearray(layout.blob(layer["digest"]))
            blob[len(blob) // 2] ^= 1
            layout.replace_layer(number, bytes(blob), None)
            return
    raise Misused("tamper-encrypted", "The image has no encrypted layer.")
