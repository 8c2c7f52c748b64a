"""The last public layer: the enclave's documents, and what makes the public layers the public root."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping

from kloister.formats.enclave.tree import Entry
from kloister.formats.oci.tar import TarHeader, TarKind
from kloister.images.layers.names import WHITEOUT
from kloister.images.layers.writing import header_of, tar_chunks

_FOLDER = b".kloister/enclave/"
_LEVEL = 9  # gzip: documents of some hundred KiB


def enclave_layer(
    documents: Mapping[str, bytes], metadata: Iterable[Entry] = (), removed: Iterable[bytes] = ()
) -> bytes:
    """The layer as plain tar.

    Args:
        documents: name -> bytes of the files in `/.kloister/enclave/`.
        metadata: directories of the root whose metadata this layer has the last word on, and links.
        removed: paths of lower layers that must go.
    """
    items = [(TarHeader(_whiteout(path), TarKind.FILE), b"") for path in sorted(removed)]
    items += [(header_of(entry), b"") for entry in metadata]
    items.append((TarHeader(_FOLDER, TarKind.DIRECTORY, 0o755), b""))
    for name in sorted(documents):
        header = TarHeader(_FOLDER + name.encode("ascii"), TarKind.FILE, 0o644, size=len(documents[name]))
        items.append((header, documents[name]))
    return b"".join(tar_chunks((header, (content,)) for header, content in items))


def compressed(tar: bytes) -> bytes:
    """The layer's blob, without a date."""
    return gzip.compress(tar, _LEVEL, mtime=0)


def _whiteout(path: bytes) -> bytes:
    parent, _, name = path.lstrip(b"/").rpartition(b"/")
    return (parent + b"/" if parent else b"") + WHITEOUT + name
