"""OCI layouts (image-spec 1.1, image-layout.md): from the index to one image for our platform."""

from __future__ import annotations

from kloister.errors import Malformed, Misconfigured
from kloister.formats.oci import mediatypes
from kloister.formats.oci.config import ImageConfig
from kloister.formats.oci.descriptor import Descriptor
from kloister.formats.oci.index import Index, parse_layout
from kloister.formats.oci.limits import Limits
from kloister.formats.oci.manifest import Manifest
from kloister.images.layers.stream import checked
from kloister.images.sources.blobs import Files, blob_chunks, read_file
from kloister.images.sources.image import PLATFORM, SourceImage, require_runnable
from kloister.images.sources.reference import Reference, familiar_name

_CONTAINERD_NAME = "io.containerd.image.name"  # annotation with the whole name, written by Docker from version 25
_MAX_NESTING = 3  # indexes in indexes; tools write at most two
_MAX_MARKER = 4096  # bytes of the file oci-layout


def open_layout(files: Files, reference: Reference, limits: Limits) -> SourceImage:
    """The image that the reference's tag names.

    Raises:
        Malformed: `layout-*`, `index-*`, `manifest-*`, `config-*`, `blob-*`.
        Misconfigured: `image-tag`, `image-platform`, `image-kind`.
    """
    marker = read_file(files, "oci-layout", _MAX_MARKER, "layout")
    top = read_file(files, "index.json", limits.manifest, "index")
    if marker is None or top is None:
        text = f"{reference.path} is not an OCI layout: oci-layout or index.json is missing."
        raise Misconfigured("layout-missing", text, "Name a layout, as `skopeo copy ... oci:DIR:TAG` writes it.")
    parse_layout(marker)
    descriptor = _choose(files, Index.parse(top, limits), reference, limits)
    return load_image(files, descriptor, str(reference), limits)


def load_image(files: Files, descriptor: Descriptor, reference: str, limits: Limits) -> SourceImage:
    """The image of one manifest, verified."""
    data = _document(files, descriptor, limits.manifest, "manifest")
    manifest = Manifest.parse(data, limits)
    config_bytes = _document(files, manifest.config, limits.config, "config")
    if manifest.config.media_type not in mediatypes.CONFIGS:
        text = f"{reference} is an artefact of the type {manifest.config.media_type}, not a container image."
        raise Misconfigured("image-kind", text, "Name a container image.")
    config = ImageConfig.parse(config_bytes, limits)
    require_runnable(manifest, config, reference)
    return SourceImage(
        reference,
        manifest,
        data,
        descriptor.digest,
        config,
        config_bytes,
        limits,
        lambda digest: blob_chunks(files, digest),
        files.close,
    )


def _document(files: Files, descriptor: Descriptor, limit: int, what: str) -> bytes:
    if descriptor.size > limit:
        raise Malformed(
            f"{what}-size", f"The {what} {descriptor.digest} has {descriptor.size} bytes, at most {limit} are read."
        )
    return b"".join(checked(blob_chunks(files, descriptor.digest), descriptor.digest, "blob", descriptor.size))


def tags_of(index: Index) -> list[str]:
    """Every name under which the index lists something."""
    names = {item.tag or item.annotations.get(_CONTAINERD_NAME, "") for item in index.manifests}
    return sorted(names - {""})


def _choose(files: Files, index: Index, reference: Reference, limits: Limits) -> Descriptor:
    wanted = reference.tag
    found = [item for item in index.manifests if not wanted or _is_named(item, wanted)]
    if not found or (not wanted and len({item.tag for item in found}) > 1):
        tags = tags_of(index)
        text = f"{reference.path} holds no image {wanted}." if wanted else f"{reference.path} holds several images."
        hint = f"It holds: {', '.join(tags[:20])}." if tags else "It holds no image with a name."
        raise Misconfigured("image-tag", text if index.manifests else f"{reference.path} holds no image.", hint)
    return _for_platform(files, found, reference, limits)


def _is_named(item: Descriptor, wanted: str) -> bool:
    full = item.annotations.get(_CONTAINERD_NAME, "")
    return wanted == item.tag or (bool(full) and familiar_name(wanted) == familiar_name(full))


def _for_platform(files: Files, items: list[Descriptor], reference: Reference, limits: Limits) -> Descriptor:
    for _ in range(_MAX_NESTING):
        fitting = [item for item in items if _fits(item)]
        if not fitting:
            seen = ", ".join(sorted({str(item.platform) for item in items}))
            text = f"{reference} is not there for {PLATFORM}, only for {seen or 'nothing'}."
            raise Misconfigured("image-platform", text, "Fetch the image for linux/amd64.")
        first = fitting[0]
        if first.media_type not in mediatypes.INDEXES:
            return first
        items = list(Index.parse(_document(files, first, limits.manifest, "index"), limits).manifests)
    raise Malformed("index-nesting", f"{reference} has indexes inside indexes, more than {_MAX_NESTING} deep.")


def _fits(item: Descriptor) -> bool:
    if item.media_type not in mediatypes.INDEXES | mediatypes.MANIFESTS:
        return False
    platform = item.platform  # unknown/unknown is BuildKit's attestation of another manifest
    return platform is None or (platform.os, platform.architecture) == (PLATFORM.os, PLATFORM.architecture)
