"""A directory or a tar archive becomes an image: one gzip layer, the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from kloister.errors import Malformed, Misconfigured
from kloister.formats.oci import mediatypes
from kloister.formats.oci.manifest import Manifest
from kloister.formats.oci.tar import BLOCK, TarHeader
from kloister.images.importer.options import ImportOptions
from kloister.images.importer.walking import walk
from kloister.images.layers.merged import MergedRoot, Note
from kloister.images.layers.merging import Merger
from kloister.images.layers.stream import file_chunks, gunzip
from kloister.images.layers.writing import DigestTap, gzip_chunks, header_of, tar_chunks
from kloister.images.layout.writer import open_destination
from kloister.images.sources.merge import Progress
from kloister.images.sources.reference import parse_reference

_GZIP = b"\x1f\x8b"
_SOURCE = "Name a directory or a tar archive."

Items = Iterable[tuple[TarHeader, Iterable[bytes]]]


@dataclass(frozen=True, slots=True)
class Imported:
    """What was made.

    Attributes:
        digest: of the manifest; empty after a dry run.
        entries: files, directories and links in the image.
        size: bytes of all regular files.
        stored: bytes of the compressed layer; 0 after a dry run.
    """

    reference: str
    digest: str
    entries: int
    size: int
    stored: int
    notes: tuple[Note, ...]


def import_image(
    source: Path,
    destination: str,
    options: ImportOptions,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Make an image of a directory or of a tar archive (plain or gzip).

    Args:
        source: the root of the file system to be.
        destination: `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.
        options: configuration and choice of files.
        dry_run: read everything, write nothing.
        progress: told of bytes of content as they are packed.

    Raises:
        Misconfigured: `import-*`, `destination-*`, `disk-full`.
        Malformed: `layer-*`, for a tar archive.
    """
    reference = str(parse_reference(destination))
    with ExitStack() as stack:
        headers, items, notes = _entries(source, options, stack)
        size = sum(header.size for header in headers)
        if dry_run:
            return Imported(reference, "", len(headers), size, 0, notes)
        tap = DigestTap(tar_chunks(_told(items, progress)))
        with open_destination(destination) as (writer, tag):
            layer = writer.add_blob(mediatypes.OCI_LAYER_GZIP, gzip_chunks(tap, options.compression))
            config = writer.add_config(options.config(tap.digest))
            written = writer.add_manifest(Manifest(config, (layer,)), tag)
        return Imported(reference, written.digest, len(headers), size, layer.size, notes)


def _entries(source: Path, options: ImportOptions, stack: ExitStack) -> tuple[list[TarHeader], Items, tuple[Note, ...]]:
    if source.is_dir():
        found, notes = walk(source, options)
        return [item.header for item in found], ((item.header, item.content()) for item in found), tuple(notes)
    if not source.exists():
        raise Misconfigured("import-missing", f"{source} does not exist.", _SOURCE)
    root = stack.enter_context(_merged(source, options))
    located = [item for item in root.located() if not options.excludes(item.entry.path)]
    headers = [options.apply(header_of(item.entry)) for item in located]
    contents = (root.content(item) for item in located)
    return headers, zip(headers, contents, strict=True), root.notes


def _merged(source: Path, options: ImportOptions) -> MergedRoot:
    with Merger(options.limits) as merger:
        try:
            merger.add(_plain(source, options), 0)
        except Malformed as error:
            raise Malformed(error.code, f"{source}: {error.text}", error.hint or _SOURCE) from None
        return merger.finish()


def _plain(source: Path, options: ImportOptions) -> Iterator[bytes]:
    try:
        chunks = file_chunks(source)
        first = next(chunks, b"")
        if not first:
            raise Misconfigured("import-unreadable", f"{source} is empty: it is no tar archive.", _SOURCE)
        whole = chain((first,), chunks)
        yield from _to_its_end(gunzip(whole, options.limits) if first.startswith(_GZIP) else whole)
    except OSError as error:
        text = f"{source} cannot be read: {error.strerror or error}."
        raise Misconfigured("import-unreadable", text, _SOURCE) from None


def _to_its_end(tar: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes; no digest says here whether they are all there, so the blocks that mark the end must be."""
    tail = b""
    for chunk in tar:
        tail = (tail + chunk)[-BLOCK:] if len(chunk) < BLOCK else chunk[-BLOCK:]
        yield chunk
    if tail != bytes(BLOCK):
        raise Malformed("layer-truncated", "The archive ends without an end mark.", "Make it again, or fetch it again.")


def _told(items: Items, progress: Progress | None) -> Items:
    for header, content in items:
        yield header, content
        if progress:
            progress(header.size)
