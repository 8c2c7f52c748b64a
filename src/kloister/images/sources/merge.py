"""From an image to its merged root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kloister.formats.oci.mediatypes import is_encrypted
from kloister.images.layers.merged import MergedRoot
from kloister.images.layers.merging import Merger
from kloister.images.sources.image import SourceImage

Progress = Callable[[int], None]  # called with the number of bytes just done


def merge_image(image: SourceImage, spool: Path | None = None, progress: Progress | None = None) -> MergedRoot:
    """The merged root of all layers that are not encrypted; every digest on the way is verified.

    Args:
        image: an image whose layers are read once, front to back.
        spool: directory of the unnamed spool file of contents.
        progress: told of plain bytes as they are read.

    Raises:
        Malformed: `layer-*`, `blob-*`.
        Misconfigured: `layer-zstd`, `layer-media-type`, `disk-full`.
    """
    with Merger(image.limits, spool) as merger:
        for index, descriptor in enumerate(image.layers):
            if not is_encrypted(descriptor.media_type):
                merger.add(_told(image.layer(index), progress), index)
        return merger.finish()


def _told(chunks: Iterator[bytes], progress: Progress | None) -> Iterator[bytes]:
    for chunk in chunks:
        if progress:
            progress(len(chunk))
        yield chunk
