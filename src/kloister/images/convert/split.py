"""Which part of an image becomes private, and what must be public so that the rest is still a root.

A layer is private as a whole, or some of its files are. A source layer without anything private is kept bit for bit;
any other is made again: its public part as a plain layer, its private part as an encrypted one. Directories that hold
something public, or that public layers have too, stay public.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from kloister.errors import Misconfigured
from kloister.formats.enclave.runtime import PRIVATE_ROOT
from kloister.formats.enclave.tree import Entry, Kind, Tree, quote
from kloister.images.convert.options import ConvertOptions
from kloister.images.encrypt.layers import Part
from kloister.images.layers.merged import Located, MergedRoot
from kloister.images.layers.names import normal_parts
from kloister.images.layers.reading import ChunkSource, TarReader
from kloister.images.sources.image import SourceImage

_SYSTEM = (b"/proc/", b"/sys/", b"/dev/")  # nothing of an image is seen there


@dataclass(frozen=True, slots=True)
class Selection:
    """What is private: whole layers by index, and single paths.

    Attributes:
        layers: indexes of source layers.
        paths: real paths of files and links.
        touched: indexes of all source layers that are made again.
    """

    layers: frozenset[int]
    paths: frozenset[bytes]
    touched: frozenset[int]

    def is_private(self, item: Located) -> bool:
        """Whether the entry leaves the public root; directories may still be called back."""
        return item.layer in self.layers or item.entry.path in self.paths


def select(image: SourceImage, root: MergedRoot, options: ConvertOptions) -> Selection:
    """Turn what the user asks for into layers and paths.

    Raises:
        Misconfigured: `encrypt-layer`, `encrypt-file`, `encrypt-nothing`.
    """
    layers = frozenset(index for word in options.encrypt for index in _layers(word, image, options.base))
    paths = _matching(root, options.encrypt_files)
    touched = layers | {item.layer for item in root.located() if item.entry.path in paths}
    if options.encrypt_files:
        touched |= {index for index in range(len(image.layers)) if _mentions(image, index, options.encrypt_files)}
    return Selection(layers, paths, touched)


def _layers(word: str, image: SourceImage, base: int | None) -> Iterable[int]:
    count = len(image.layers)
    if word == "none":
        return ()
    if word == "all":
        return range(count)
    if word == "app":
        return range(count - 1 if base is None else base, count)
    if word.removeprefix("-").isdigit() and -count <= int(word) < count:
        return (int(word) % count,)
    found = [
        index for index, layer in enumerate(image.layers) if layer.digest.startswith(word) and word[:7] == "sha256:"
    ]
    if len(found) != 1:
        hint = f"Write app, all, none, a number from 0 to {count - 1} (-1 is the last), or a digest."
        raise Misconfigured("encrypt-layer", f"{word!r} names no layer of the image, or several.", hint)
    return found


def _matching(root: MergedRoot, patterns: tuple[str, ...]) -> frozenset[bytes]:
    """Paths of files and links that a pattern names, with all other names of the same files."""
    items = root.located()
    paths: set[bytes] = set()
    for pattern in patterns:
        found = {
            i.entry.path for i in items if i.entry.kind is not Kind.DIRECTORY and _matches(i.entry.path, (pattern,))
        }
        if not found:
            hint = "Patterns are matched with whole absolute paths; * also matches /."
            raise Misconfigured("encrypt-file", f"No file of the image matches {pattern!r}.", hint)
        paths |= found
    leaders = {_leader(item.entry) for item in items if item.entry.path in paths}
    return frozenset(item.entry.path for item in items if _leader(item.entry) in leaders)


def _leader(entry: Entry) -> bytes:
    return entry.target if entry.kind is Kind.HARDLINK else entry.path


def _matches(path: bytes, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern.encode("utf-8")) for pattern in patterns)


def _mentions(image: SourceImage, index: int, patterns: tuple[str, ...]) -> bool:
    """Whether a layer holds a file under a private name, even one that a later layer replaces or deletes."""
    source = ChunkSource(image.layer(index))
    found = False
    for header in TarReader(source, image.limits):
        path = b"/" + b"/".join(normal_parts(header.name, image.limits))
        found |= _matches(path, patterns)
    source.drain()
    return found


def public_part(root: MergedRoot, selection: Selection, layer: int) -> Part:
    """What of a layer that is made again stays public, its directories included."""
    return Part(
        root,
        tuple(
            item
            for item in root.located(lambda path, at: at == layer and path not in selection.paths)
            if layer not in selection.layers and item.entry.path != b"/"
        ),
    )


@dataclass(frozen=True, slots=True)
class Split:
    """The two halves of a root.

    Attributes:
        public: what the tree of the converted image says, without the runtime.
        private: index of the source layer -> what becomes encrypted.
        directories: whose metadata the merged public layers do not have as `public` says; links in their places, too.
        removed: paths of the merged public layers that `public` does not have.
        links: what leads from private paths into memory, where that is wanted; of `public`, too.
    """

    public: Tree
    private: dict[int, Part]
    directories: tuple[Entry, ...]
    removed: tuple[bytes, ...]
    links: tuple[Entry, ...] = ()


def split(root: MergedRoot, selection: Selection, merged: Tree, mountable: Iterable[str] | None = None) -> Split:
    """Divide the root.

    Args:
        root: the whole root of the source image.
        selection: what is private.
        merged: the tree of the public layers alone.
        mountable: have links at the private paths, but keep these directories, where something may be mounted, and
            links of the image in their places, which lead a mount elsewhere.

    Raises:
        Misconfigured: `encrypt-nothing`, when no file is private.
    """
    places = {path.encode() for path in mountable or ()}
    kept = _public_paths(root, selection, merged, places)
    public = root.tree(lambda path, _: path in kept)
    private: dict[int, Part] = {}
    for layer in sorted(selection.touched):
        located = root.located(partial(_is_part, layer, kept))
        if located:
            private[layer] = Part(root, located)
    if not any(item.entry.kind is not Kind.DIRECTORY for part in private.values() for item in part.located):
        raise Misconfigured(
            "encrypt-nothing",
            "The layers to encrypt hold no file of the finished image.",
            "Choose other layers with --encrypt, or files with --encrypt-file.",
        )
    before = {entry.path: entry for entry in merged.entries}
    directories = tuple(
        entry
        for entry in public.entries
        if (entry.kind is Kind.DIRECTORY or (entry.kind is Kind.SYMLINK and entry.path in places))
        and before.get(entry.path) != entry
    )
    removed = topmost(before.keys() - kept)
    if mountable is None:
        return Split(public, private, directories, removed)
    hidden = (item.entry.path for part in private.values() for item in part.located)
    links = tuple(_link(path) for path in topmost(hidden) if not path.startswith(_SYSTEM))
    there = {link.path for link in links}  # a link takes the place of what is there, and needs no whiteout
    linked = Tree.of([*public.entries, *links])
    return Split(linked, private, directories, tuple(path for path in removed if path not in there), links)


def _is_part(layer: int, kept: set[bytes], path: bytes, at: int) -> bool:
    return at == layer and path not in kept


def _public_paths(root: MergedRoot, selection: Selection, merged: Tree, mountable: set[bytes]) -> set[bytes]:
    items = root.located()
    shared = mountable | {entry.path for entry in merged.entries if entry.kind is Kind.DIRECTORY}
    kept = {item.entry.path for item in items if not selection.is_private(item)} | {b"/"}
    kept |= {item.entry.path for item in items if item.entry.kind is Kind.DIRECTORY and item.entry.path in shared}
    kept |= {item.entry.path for item in items if item.entry.kind is Kind.SYMLINK and item.entry.path in mountable}
    for path in tuple(kept):
        parent = path.rpartition(b"/")[0]
        while parent and parent not in kept:
            kept.add(parent)
            parent = parent.rpartition(b"/")[0]
    return kept


def _link(path: bytes) -> Entry:
    """A link of no date and of root's: it tells nothing of the entry behind it."""
    return Entry(path, Kind.SYMLINK, 0o777, 0, 0, 0, target=PRIVATE_ROOT.encode() + path)


def topmost(paths: Iterable[bytes]) -> tuple[bytes, ...]:
    """Those that are in no directory among them."""
    result: list[bytes] = []
    for path in sorted(set(paths), key=lambda path: path.split(b"/")):  # what is in a directory directly behind it
        if not result or not path.startswith(result[-1] + b"/"):
            result.append(path)
    return tuple(result)


def require_same(expected: Tree, seen: Tree) -> None:
    """Refuse a division after which the public layers do not give the public root.

    Raises:
        Misconfigured: `encrypt-overlap`.
    """
    if expected == seen:
        return
    odd = {entry.path for entry in set(expected.entries) ^ set(seen.entries)}
    raise overlap(f"{quote(min(odd))} is public.")


def overlap(text: str) -> Misconfigured:
    """The refusal of a division in which something public rests on something private."""
    return Misconfigured(
        "encrypt-overlap",
        f"Something public needs what would be encrypted: {text}",
        "Encrypt the layer or file that it belongs to as well, for instance with --encrypt app --base N.",
    )
