"""The last public layer: the enclave's documents, and what makes the public layers the public root."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping

from kloister.formats.enclave.tree import Entry
from kloister.formats.oci.tar import BLOCK, END, TarHeader, TarKind, build_header
from kloister.images.layers.names import WHITEOUT

_FOLDER = b".kloister/enclave/"
_LEVEL = 9  # gzip: documents of some hundred KiB


def enclave_layer(
    documents: Mapping[str, bytes], directories: Iterable[Entry] = (), removed: Iterable[bytes] = ()
) -> bytes:
    """The layer as plain tar.

    Args:
        documents: name -> bytes of the files in `/.kloister/enclave/`.
        directories: directories of the root whose metadata this layer has the last word on.
        removed: paths of lower layers that must go.
    """
    parts = [build_header(TarHeader(_whiteout(path), TarKind.FILE)) for path in sorted(removed)]
    parts += [_directory(entry) for entry in directories]
    parts.append(build_header(TarHeader(_FOLDER, TarKind.DIRECTORY, 0o755)))
    for name in sorted(documents):
        data = documents[name]
        header = TarHeader(_FOLDER + name.encode("ascii"), TarKind.FILE, 0o644, size=len(data))
        parts += [build_header(header), data, bytes(-len(data) % BLOCK)]
    return b"".join([*parts, END])


def compressed(tar: bytes) -> bytes:
    """The layer's blob, without a date."""
    return gzip.compress(tar, _LEVEL, mtime=0)


def _whiteout(path: bytes) -> bytes:
    parent, _, name = path.lstrip(b"/").rpartition(b"/")
    return (parent + b"/" if parent else b"") + WHITEOUT + name


def _directory(entry: Entry) -> bytes:
    name = (entry.path.lstrip(b"/") or b".") + b"/"
    return build_header(TarHeader(name, TarKind.DIRECTORY, entry.mode, entry.uid, entry.gid, mtime=entry.mtime))
