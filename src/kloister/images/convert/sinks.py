"""Where a conversion's blobs go: into a layout, or nowhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from kloister.formats.oci.config import ImageConfig
from kloister.formats.oci.descriptor import Descriptor, digest_of
from kloister.formats.oci.manifest import Manifest
from kloister.formats.oci.mediatypes import OCI_CONFIG


class ImageSink(Protocol):
    """What `images.layout.LayoutWriter` does."""

    def add_blob(
        self, media_type: str, chunks: Iterable[bytes], annotations: dict[str, str] | None = None
    ) -> Descriptor:
        """Write a blob whose digest is not known yet."""

    def copy_blob(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> Descriptor:
        """Write a blob whose descriptor is known."""

    def add_config(self, config: ImageConfig) -> Descriptor:
        """Write the image configuration."""

    def add_manifest(self, manifest: Manifest, tag: str) -> Descriptor:
        """Write the manifest and give it a tag."""


class File:
    """Keeps one blob in a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add_blob(
        self, media_type: str, chunks: Iterable[bytes], annotations: dict[str, str] | None = None
    ) -> Descriptor:
        """Write it."""
        return Nowhere().add_blob(media_type, self._written(chunks), annotations)

    def _written(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._file.write(chunk)
            yield chunk


class Nowhere:
    """Counts and hashes what would be written: the sink of a dry run."""

    def add_blob(
        self, media_type: str, chunks: Iterable[bytes], annotations: dict[str, str] | None = None
    ) -> Descriptor:
        """The descriptor that the blob would have."""
        hasher, size = hashlib.sha256(), 0
        for chunk in chunks:
            hasher.update(chunk)
            size += len(chunk)
        return Descriptor(media_type, "sha256:" + hasher.hexdigest(), size, annotations or {})

    def copy_blob(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> Descriptor:  # noqa: ARG002 - as the protocol
        """The descriptor itself; the bytes were verified when they were merged."""
        return descriptor

    def add_config(self, config: ImageConfig) -> Descriptor:
        """The descriptor that the configuration would have."""
        data = config.build()
        return Descriptor(OCI_CONFIG, digest_of(data), len(data))

    def add_manifest(self, manifest: Manifest, tag: str) -> Descriptor:  # noqa: ARG002 - as the protocol
        """The descriptor that the manifest would have."""
        data = manifest.build()
        return Descriptor(manifest.media_type, digest_of(data), len(data))
