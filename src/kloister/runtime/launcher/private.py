"""Step 4: the private layers, decrypted into private memory. Nothing of a layer is used before its HMAC was checked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from kloister.errors import Denied, Malformed, Unverified
from kloister.formats.enclave.launch import Private, PrivateLayer
from kloister.formats.enclave.private import SECRET_SIZE, layer_key, open_private_trees
from kloister.formats.enclave.tree import HOST_FILES, Entry, Kind, Tree, quote
from kloister.formats.oci.crypt import Decryptor
from kloister.formats.oci.tar import TarKind
from kloister.runtime.launcher.placing import Root
from kloister.runtime.launcher.unpacking import Layer

TREE = "private.tree"  # name of the encrypted part that lists the entries
_CHUNK = 1 << 20  # bytes decrypted at once
_OWN = (b"/proc", b"/sys", b"/dev")  # made by the sandbox itself; what the image has there is left out


def place_private(
    root: Root, part: Callable[[str], bytes], private: Private, keys: Mapping[str, bytes], at: bytes = b""
) -> None:
    """Place what the private trees list, no more and no less.

    Args:
        root: where the entries are placed.
        part: gives the encrypted parts by name: `private.tree`, the hexadecimal digits of a layer's digest.
        private: the measured description.
        keys: the released keys by the names of their secrets.
        at: a directory below the root that all paths are below, for instance `/private`; there, relative links lead to
            where they would lead at their own places.

    Raises:
        Denied: `private-key-missing`, `private-collision`, `place-refused`.
        Unverified: `private-tree`, `layer-hmac`, `private-content`.
        Malformed: `private-tree`, `tree-*`, `layer-*`; what `part` raises.
        Unavailable: `memory-full`.
    """
    secret = keys.get(private.secret, b"")
    if len(secret) != SECRET_SIZE:
        raise Denied(
            "private-key-missing",
            f"The policy releases no key of {SECRET_SIZE} bytes named {private.secret} for the private layers.",
            "Give the policy's service the key that was made when the image was converted.",
        )
    trees = open_private_trees(secret, part(TREE), len(private.layers))
    entries = _checked(root, trees, at)
    parents = _times_of_parents(root, entries)
    _make_directories(root, entries)
    for layer, tree in zip(private.layers, trees, strict=True):
        encrypted = part(layer.digest.removeprefix("sha256:"))
        _place_contents(root, tree, Layer(_decrypted(encrypted, layer, secret), layer.media_type), at)
    _make_links(root, entries, at)
    _finish(root, entries, parents)


def taken(folder: Path) -> Callable[[str], bytes]:
    """Encrypted parts in a folder, each deleted when it is asked for: the runner has checked them, memory is short.

    What it returns raises `Malformed` (`private-missing`).
    """

    def take(name: str) -> bytes:
        try:
            data = (folder / name).read_bytes()
            (folder / name).unlink()
        except OSError:
            raise Malformed(
                "private-missing", f"The encrypted part {name} is missing.", "Pack the image again."
            ) from None
        return data

    return take


def _decrypted(data: bytes, layer: PrivateLayer, secret: bytes) -> bytes:
    nonce = base64.b64decode(layer.nonce)
    decryptor = Decryptor(layer_key(secret, nonce), nonce, base64.b64decode(layer.hmac))
    plain = b"".join(decryptor.update(data[at : at + _CHUNK]) for at in range(0, len(data), _CHUNK))
    decryptor.finish()
    return plain


def _is_own(path: bytes) -> bool:
    return path in HOST_FILES or any(path == own or path.startswith(own + b"/") for own in _OWN)


def _checked(root: Root, trees: tuple[Tree, ...], at: bytes) -> dict[bytes, Entry]:
    """All entries by place, sorted; none may be twice, ours, or where the public part already has something."""
    listed = [entry for tree in trees for entry in tree.entries if not _is_own(entry.path)]
    entries = {at + entry.path: entry for entry in sorted(listed, key=lambda entry: entry.path)}
    for place, entry in entries.items():
        path = entry.path
        ours = path == b"/.kloister" or path.startswith(b"/.kloister/")
        if ours or (entry.kind is not Kind.DIRECTORY and root.exists(place)):
            raise Denied(
                "private-collision", f"{quote(path)} is private, but the public part of the image has it already."
            )
    if len(entries) != len(listed):
        raise Malformed("private-tree", "Two private layers claim the same path.", "Convert the image again.")
    return entries


def _times_of_parents(root: Root, entries: Mapping[bytes, Entry]) -> dict[bytes, int]:
    """Times of public directories that get private children: they were measured, and placing would change them."""
    parents = {path.rpartition(b"/")[0] or b"/" for path in entries} - entries.keys()
    return {path: root.mtime(path) for path in parents if root.exists(path)}


def _make_directories(root: Root, entries: Mapping[bytes, Entry]) -> None:
    for path, entry in entries.items():
        if entry.kind is Kind.DIRECTORY:
            root.directory(path)


def _place_contents(root: Root, tree: Tree, layer: Layer, at: bytes) -> None:
    wanted = {entry.path: entry for entry in tree.entries if entry.kind is Kind.FILE and not _is_own(entry.path)}
    for header in layer.headers():
        entry = wanted.get(_path(header.name)) if header.kind is TarKind.FILE else None
        if entry is None or entry.size != header.size:  # overwritten further down, or not part of the finished root
            continue
        content = layer.content()
        if sha256(content).digest() == entry.sha256:
            root.file(at + entry.path, content, entry.mode, (entry.uid, entry.gid), entry.mtime)
            del wanted[entry.path]
    if wanted:
        raise Unverified(
            "private-content",
            f"The encrypted layer does not hold {quote(min(wanted))} as it was listed.",
            "Convert the image again.",
        )


def _path(name: bytes) -> bytes:
    """The absolute form of an entry's name; what is not normal finds no line in a tree."""
    return b"/" + b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))


def _make_links(root: Root, entries: Mapping[bytes, Entry], at: bytes) -> None:
    for path, entry in entries.items():
        if entry.kind is Kind.SYMLINK:
            target = _from_own_place(entry) if at else entry.target
            root.symlink(path, target, (entry.uid, entry.gid), entry.mtime)
        elif entry.kind is Kind.HARDLINK:
            root.hardlink(path, at + entry.target)


def _from_own_place(link: Entry) -> bytes:
    """The absolute target of a link: `..` at its start is counted from the link's own directory, a real path."""
    if link.target.startswith(b"/"):
        return link.target
    directory, rest = link.path.rpartition(b"/")[0], link.target
    while rest == b".." or rest.startswith(b"../"):
        directory, rest = directory.rpartition(b"/")[0], rest[3:]
    return directory + b"/" + rest


def _finish(root: Root, entries: Mapping[bytes, Entry], parents: Mapping[bytes, int]) -> None:
    for path, entry in reversed(list(entries.items())):  # children first
        if entry.kind is Kind.DIRECTORY:
            root.finish_directory(path, entry.mode, (entry.uid, entry.gid), entry.mtime)
    for path, time in parents.items():
        root.set_mtime(path, time)
