"""One door for all sources."""

from __future__ import annotations

from pathlib import Path

from kloister.errors import Misconfigured
from kloister.formats.oci.limits import DEFAULT, Limits
from kloister.images.sources.blobs import ArchiveFiles, DirectoryFiles
from kloister.images.sources.docker import open_docker_archive
from kloister.images.sources.image import SourceImage
from kloister.images.sources.layout import open_layout
from kloister.images.sources.reference import Reference, Transport, parse_reference


def open_source(ref: str, limits: Limits = DEFAULT) -> SourceImage:
    """The image of a reference; close it after use.

    Args:
        ref: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:REF]`.
        limits: what is read at most.

    Raises:
        Malformed: the image is damaged or hostile.
        Misconfigured: `reference-*`, `image-missing`, `image-unreadable`, `image-tag`, `image-platform`, ...
    """
    reference = parse_reference(ref)
    if reference.transport is Transport.OCI:
        _require_directory(reference.path)
        return open_layout(DirectoryFiles(reference.path), reference, limits)
    files = ArchiveFiles(reference.path, limits)
    try:
        return _open_archive(files, reference, limits)
    except BaseException:
        files.close()
        raise


def _open_archive(files: ArchiveFiles, reference: Reference, limits: Limits) -> SourceImage:
    # Docker from version 25 writes archives that are OCI layouts as well: those say the true manifest.
    if reference.transport is Transport.OCI_ARCHIVE or files.size("index.json") is not None:
        return open_layout(files, reference, limits)
    return open_docker_archive(files, reference, limits)


def _require_directory(path: Path) -> None:
    if not path.is_dir():
        missing = "is not a directory" if path.exists() else "does not exist"
        raise Misconfigured("image-missing", f"{path} {missing}.", "Name the directory of an OCI layout.")
