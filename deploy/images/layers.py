"""Layers that several images share: made and compressed once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from kloister.formats.oci import mediatypes
from kloister.formats.oci.manifest import Manifest
from kloister.images.importer import ImportOptions
from kloister.images.importer.walking import walk
from kloister.images.layers.stream import file_chunks
from kloister.images.layers.writing import DigestTap, gzip_chunks, tar_chunks
from kloister.images.layout.writer import open_destination
from kloister.images.samples.root import EPOCH

_OURS = ImportOptions(owner=(0, 0), epoch=EPOCH)


@dataclass(frozen=True, slots=True)
class Layer:
    """A directory, and the same as a gzip layer.

    Attributes:
        root: the files.
        blob: the layer.
        diff_id: digest of the plain tar.
        description: for the image's history.
    """

    root: Path
    blob: Path
    diff_id: str
    description: str


def pack(root: Path, description: str) -> Layer:
    """Make the layer of a directory, as `ROOT.layer` beside it; everything belongs to user 0."""
    found, _ = walk(root, _OURS)
    tap = DigestTap(tar_chunks((item.header, item.content()) for item in found))
    blob = root.with_suffix(".layer")
    with blob.open("wb") as file:
        file.writelines(gzip_chunks(tap, _OURS.compression))
    return Layer(root, blob, tap.digest, description)


def write_image(layers: list[Layer], options: ImportOptions, destination: str) -> str:
    """Write an image of these layers, lowest first; the digest of its manifest.

    Raises:
        Misconfigured: `destination-*`.
    """
    config = options.config(layers[0].diff_id)
    history = tuple({**config.history[0], "created_by": layer.description} for layer in layers)
    whole = replace(config, diff_ids=tuple(layer.diff_id for layer in layers), history=history)
    with open_destination(destination) as (writer, tag):
        blobs = [writer.add_blob(mediatypes.OCI_LAYER_GZIP, file_chunks(layer.blob)) for layer in layers]
        return str(writer.add_manifest(Manifest(writer.add_config(whole), tuple(blobs)), tag).digest)
