"""Layers written: the same entries always give the same bytes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator

from kloister.errors import Misused
from kloister.formats.enclave.tree import Entry, Kind
from kloister.formats.oci.tar import END, TarHeader, TarKind, build_header

_KINDS = {
    Kind.FILE: TarKind.FILE,
    Kind.DIRECTORY: TarKind.DIRECTORY,
    Kind.SYMLINK: TarKind.SYMLINK,
    Kind.HARDLINK: TarKind.HARDLINK,
}
_GZIP = 31  # zlib's wbits for a gzip member; its header then has no name and no time


def header_of(entry: Entry) -> TarHeader:
    """An entry of a tree as a tar header; directories end in a slash, as every tar writer has it."""
    name = entry.path[1:] or b"./"
    if entry.kind is Kind.DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    target = entry.target[1:] if entry.kind is Kind.HARDLINK else entry.target
    return TarHeader(name, _KINDS[entry.kind], entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, target)


def tar_chunks(items: Iterable[tuple[TarHeader, Iterable[bytes]]]) -> Iterator[bytes]:
    """A plain tar of headers and their contents, in the order given.

    Raises:
        Misused: `tar-content`, when a content has not the size that its header says.
    """
    for header, content in items:
        yield build_header(header)
        left = header.size
        for chunk in content:
            left -= len(chunk)
            yield chunk
        if left:
            raise Misused("tar-content", f"The content of {header.name!r} misses its size by {left} bytes.")
        if header.padding:
            yield bytes(header.padding)
    yield END


def gzip_chunks(chunks: Iterable[bytes], level: int = 6) -> Iterator[bytes]:
    """One gzip member without name and time, so that it depends on the bytes (and zlib's version) only."""
    packer = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    for chunk in chunks:
        if part := packer.compress(chunk):
            yield part
    yield packer.flush()


class DigestTap:
    """Passes chunks on and remembers their SHA-256: for a layer, its diff_id."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._hasher = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hasher.update(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        """`sha256:` and the digits, of all that has passed."""
        return "sha256:" + self._hasher.hexdigest()
