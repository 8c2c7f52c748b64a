"""Docker's own archive form: `manifest.json` and layers as plain tar (docker save before version 25, podman save)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from kloister.errors import Malformed, Misconfigured
from kloister.formats.oci import mediatypes
from kloister.formats.oci.config import ImageConfig
from kloister.formats.oci.descriptor import Descriptor, digest_of
from kloister.formats.oci.fields import Fields
from kloister.formats.oci.limits import Limits
from kloister.formats.oci.manifest import Manifest
from kloister.formats.wire import load_json
from kloister.images.sources.blobs import ArchiveFiles, read_file
from kloister.images.sources.image import SourceImage, require_runnable
from kloister.images.sources.reference import Reference, familiar_name

_CONFIG = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")  # Docker names it by its digest


def open_docker_archive(files: ArchiveFiles, reference: Reference, limits: Limits) -> SourceImage:
    """The image that the reference names, with an OCI manifest made for it: the same archive, the same digest.

    Raises:
        Malformed: `archive-*`, `config-*`.
        Misconfigured: `image-tag`, `image-platform`.
    """
    data = read_file(files, "manifest.json", limits.manifest, "archive")
    if data is None:
        text = f"{reference.path} is no Docker archive: manifest.json is missing."
        raise Misconfigured("archive-missing", text, "Name a file that `docker save` or `podman save` wrote.")
    item = _choose(load_json(data, "archive", limits.manifest), reference)
    item_name = item.text("Config")
    config_bytes = read_file(files, item_name, limits.config, "config")
    if config_bytes is None:
        raise Malformed("blob-missing", f"{reference.path} lacks the image's configuration.", "Save the image again.")
    _require_named(item_name, config_bytes)
    config = ImageConfig.parse(config_bytes, limits)
    names = item.texts("Layers")
    if len(names) != len(config.diff_ids):
        text = f"{reference} has {len(names)} layers and {len(config.diff_ids)} digests of them."
        raise Malformed("config-layers", text, "The image is damaged: save it again.")
    layers = tuple(_layer(files, name, diff_id) for name, diff_id in zip(names, config.diff_ids, strict=True))
    where = dict(zip(config.diff_ids, names, strict=True))
    manifest = Manifest(Descriptor(mediatypes.OCI_CONFIG, digest_of(config_bytes), len(config_bytes)), layers)
    require_runnable(manifest, config, str(reference))
    encoded = manifest.build()

    def chunks(digest: str) -> Iterator[bytes]:
        if digest == manifest.config.digest:
            return iter((config_bytes,))
        found = files.chunks(where.get(digest, ""))
        if found is None:
            raise Malformed("blob-missing", f"{reference.path} lacks the layer {digest}.", "Save the image again.")
        return found

    return SourceImage(
        str(reference), manifest, encoded, digest_of(encoded), config, config_bytes, limits, chunks, files.close
    )


def _require_named(name: str, data: bytes) -> None:
    named = _CONFIG.fullmatch(name)
    if named and digest_of(data) != "sha256:" + named[1]:
        raise Malformed(
            "blob-digest", f"The image's configuration {name} has another SHA-256.", "Save the image again."
        )


def _layer(files: ArchiveFiles, name: str, diff_id: str) -> Descriptor:
    size = files.size(name)
    if size is None:
        raise Malformed("blob-missing", f"The archive lacks the layer {json.dumps(name)}.", "Save the image again.")
    return Descriptor(mediatypes.OCI_LAYER, diff_id, size)


def _choose(value: Any, reference: Reference) -> Fields:
    if not isinstance(value, list) or not value:
        raise Malformed("archive-field", f"{reference.path}: manifest.json is not a list of images.")
    items = [Fields(item, "archive") for item in value]
    names = [item.texts("RepoTags") for item in items]
    if not reference.tag and len(items) == 1:
        return items[0]
    wanted = familiar_name(reference.tag) if reference.tag else None
    for item, tags in zip(items, names, strict=True):
        if wanted in {familiar_name(tag) for tag in tags}:
            return item
    held = ", ".join(tag for tags in names for tag in tags) or "no image with a name"
    text = (
        f"{reference.path} holds no image {reference.tag}."
        if reference.tag
        else f"{reference.path} holds several images."
    )
    raise Misconfigured("image-tag", text, f"It holds: {held}.")
