# ruff: noqa: PTH101, PTH102, PTH211 -- paths are bytes here, which pathlib does not know
"""Fills the sandbox's root from a pack: the measured tree and nothing else, every byte checked before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import accumulate

from kloister.errors import Denied, KloisterError, Malformed, Unavailable
from kloister.formats.enclave.tree import MAX_DOCUMENT, Entry, Kind, Tree, differences
from kloister.runtime.runner import contents, parallel
from kloister.runtime.runner.contents import File
from kloister.runtime.runner.pack import Pack

OWN_PLACES = (b"/proc", b"/dev", b"/sys")  # made by the sandbox itself; what the image has below them is left out
_LISTED = 10  # differences that a refusal names
_REBUILD = "The image, or the pack made of it, was changed after it was measured. Convert again if that was you."
_FILE_COST = 30_000  # bytes whose copying takes as long as the system calls around one file, for sharing the work
_NANO = 10**9


def measured_tree(pack: Pack) -> Tree:
    """The measured tree, after the pack said that it holds just that.

    Raises:
        Denied: the code of the first difference, listing up to ten.
        Malformed: `tree-*` of either document; `contents-size`.
    """
    measured = Tree.parse(pack.tree)
    observed = _read_all(pack.observed, MAX_DOCUMENT)
    if observed != pack.tree:
        found = differences(measured, Tree.parse(observed))
        if found:
            listed = "; ".join(str(difference) for difference in found[:_LISTED])
            more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
            raise Denied(found[0].code, f"The files are not what was measured: {listed}{more}.", _REBUILD)
    expected, seen = sum(entry.size for entry in measured.entries), os.fstat(pack.contents).st_size
    if expected != seen:
        raise Malformed("contents-size", f"The pack's contents have {seen} bytes instead of {expected}.", _REBUILD)
    return measured


def fill(tree: Tree, pack: Pack, *, owners: bool, places: Callable[[], None]) -> None:
    """Make every entry of `tree` below the root directory of this process (an empty file system of its own).

    Symlinks come last: nothing is ever made through one.

    Args:
        tree: from `measured_tree`.
        pack: where the bytes come from.
        owners: set owner and group of everything.
        places: called when the directories stand; makes what is not of the tree.

    Raises:
        Denied: `file-changed`. Malformed: `contents-size`. Unavailable: `memory-full`.
    """
    files = _files(tree)
    kept = [entry for entry in tree.entries if not _is_own(entry.path)]
    directories = [entry for entry in kept if entry.kind is Kind.DIRECTORY]
    try:
        _make_directories(directories, owners=owners)
        places()
        parallel.run([_Copy(pack.contents, share, owners=owners) for share in _shares(files, parallel.WORKERS)])
        _make_links(kept, owners=owners)
        _finish_directories(directories)
    except OSError as error:
        raise full_or(error, pack.launch.memory) from None


def full_or(error: OSError, memory: int) -> KloisterError:
    """The refusal for an error of the private file system."""
    where = f" at {os.fsdecode(error.filename)!a}" if error.filename else ""
    if error.errno in parallel.FULL:
        return Unavailable(
            "memory-full",
            f"The files do not fit into the {memory} bytes of private memory that were measured{where}.",
            "Convert with a larger --memory.",
        )
    return Unavailable("fill-failed", f"The root could not be filled{where}: {error.strerror}.")


def private_layers(pack: Pack) -> Iterable[tuple[str, bytes]]:
    """Names and bytes of the encrypted parts, each checked: layers by digest, and `private.tree`.

    Raises:
        Denied: `layer-changed`.
    """
    private = pack.launch.private
    if private is None:
        return
    names = {layer: layer.digest.removeprefix("sha256:") for layer in private.layers}
    parts = [(layer.digest, layer.size, pack.private[name]) for layer, name in names.items() if name in pack.private]
    if pack.private_tree is not None:
        parts.append((private.tree_digest, private.tree_size, pack.private_tree))
    for digest, size, descriptor in parts:
        name = "private.tree" if descriptor == pack.private_tree else digest.removeprefix("sha256:")
        data = _read_all(descriptor, size)
        if sha256(data).hexdigest() != digest.removeprefix("sha256:"):
            raise Denied("layer-changed", f"The encrypted part {name} is not what was measured.", _REBUILD)
        yield name, data


class _Copy:
    """A share of the files, copied by one worker."""

    def __init__(self, descriptor: int, files: Sequence[File], *, owners: bool) -> None:
        self._descriptor, self._files, self._owners = descriptor, files, owners

    def __call__(self) -> None:
        contents.copy(self._descriptor, self._files, owners=self._owners)


def _is_own(path: bytes) -> bool:
    return path.startswith(OWN_PLACES) and any(path == own or path.startswith(own + b"/") for own in OWN_PLACES)


def _files(tree: Tree) -> list[File]:
    regular = [entry for entry in tree.entries if entry.kind is Kind.FILE]
    offsets = accumulate((entry.size for entry in regular), initial=0)
    return [File(entry, offset, not _is_own(entry.path)) for entry, offset in zip(regular, offsets, strict=False)]


def _shares(files: Sequence[File], count: int) -> list[Sequence[File]]:
    """Consecutive shares that take about the same time each."""
    costs = list(accumulate(file.entry.size + _FILE_COST for file in files))
    whole = costs[-1] if costs else 0
    shares: list[list[File]] = [[] for _ in range(count)]
    for file, cost in zip(files, costs, strict=True):
        shares[min(count - 1, cost * count // (whole + 1))].append(file)
    return [share for share in shares if share]


def _make_directories(directories: Iterable[Entry], *, owners: bool) -> None:
    for entry in directories:
        if entry.path != b"/":
            os.mkdir(entry.path, entry.mode & 0o777)
        if owners and (entry.uid or entry.gid):
            os.chown(entry.path, entry.uid, entry.gid)


def _make_links(entries: Iterable[Entry], *, owners: bool) -> None:
    hard = [entry for entry in entries if entry.kind is Kind.HARDLINK]
    for entry in hard:
        os.link(entry.target, entry.path, follow_symlinks=False)
    for entry in entries:
        if entry.kind is not Kind.SYMLINK:
            continue
        os.symlink(entry.target, entry.path)
        if owners and (entry.uid or entry.gid):
            os.chown(entry.path, entry.uid, entry.gid, follow_symlinks=False)
        os.utime(entry.path, ns=(entry.mtime * _NANO, entry.mtime * _NANO), follow_symlinks=False)


def _finish_directories(directories: Sequence[Entry]) -> None:
    for entry in reversed(directories):
        if entry.mode & 0o7000 or entry.path == b"/":  # setgid only now: what is made below would inherit the group
            os.chmod(entry.path, entry.mode)
        os.utime(entry.path, ns=(entry.mtime * _NANO, entry.mtime * _NANO))


def _read_all(descriptor: int, limit: int) -> bytes:
    pieces, held = [], 0
    while piece := os.pread(descriptor, 1 << 20, held):
        pieces.append(piece)
        held += len(piece)
        if held > limit:
            raise Malformed("pack-size", f"A file of the pack has more than {limit} bytes.", _REBUILD)
    return b"".join(pieces)


def require_memory(tree: Tree, memory: int) -> None:
    """Refuse a tree that the measured memory cannot hold, before anything is copied.

    Raises:
        Unavailable: `memory-full`.
    """
    needed = sum(entry.size for entry in tree.entries)
    if needed > memory:
        raise Unavailable(
            "memory-full",
            f"The files have {needed} bytes; the measured memory is {memory}.",
            "Convert with a larger --memory.",
        )
