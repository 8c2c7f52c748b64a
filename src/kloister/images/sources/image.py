"""One image for one platform, with everything that is read from it checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from kloister.errors import Malformed, Misconfigured
from kloister.formats.oci import mediatypes
from kloister.formats.oci.config import ImageConfig
from kloister.formats.oci.descriptor import Descriptor, Platform
from kloister.formats.oci.limits import Limits
from kloister.formats.oci.manifest import Manifest
from kloister.images.layers.stream import checked, gunzip

PLATFORM = Platform("linux", "amd64")  # what enclaves run: SGX exists on x86-64 only

Chunks = Callable[[str], Iterator[bytes]]  # digest -> the blob's unchecked bytes


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image that was found and whose manifest and configuration were verified; layers are verified as they are read.

    Attributes:
        reference: where it was found, for messages.
        digest: of the manifest's bytes; for Docker's old archives, which have none, of the one that is made for them.
    """

    reference: str
    manifest: Manifest
    manifest_bytes: bytes
    digest: str
    config: ImageConfig
    config_bytes: bytes
    limits: Limits
    _chunks: Chunks
    _close: Callable[[], None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._close()

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers' descriptors, from the base upwards."""
        return self.manifest.layers

    def blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob's bytes as stored, verified by size and digest when the last chunk has been read.

        Raises:
            Malformed: `blob-missing`, `blob-size`, `blob-digest`.
        """
        return checked(self._chunks(descriptor.digest), descriptor.digest, "blob", descriptor.size)

    def layer(self, index: int) -> Iterator[bytes]:
        """A layer as plain tar, verified (stored digest, size, diff_id) when the last chunk has been read.

        Raises:
            Malformed: `blob-*`, `layer-gzip`, `layer-bomb`, `layer-digest` (the diff_id), `layer-encrypted`.
            Misconfigured: `layer-zstd`, `layer-media-type`.
        """
        descriptor = self.layers[index]
        compressed = require_readable(descriptor)
        stored = self.blob(descriptor)
        plain = gunzip(stored, self.limits) if compressed else stored
        return checked(plain, self.config.diff_ids[index], "layer")


def require_readable(descriptor: Descriptor) -> bool:
    """Whether the layer is gzip (True) or plain (False).

    Raises:
        Misconfigured: `layer-zstd`, `layer-encrypted`, `layer-media-type`.
    """
    media_type = descriptor.media_type
    if mediatypes.is_zstd(media_type):
        hint = "Copy it with gzip layers: skopeo copy --dest-compress-format gzip SRC DST"
        raise Misconfigured("layer-zstd", f"The layer {descriptor.digest} is compressed with Zstandard.", hint)
    if mediatypes.is_encrypted(media_type):
        text = f"The layer {descriptor.digest} is encrypted."
        raise Misconfigured("layer-encrypted", text, "Decrypt the image first: kloister image decrypt.")
    if media_type in mediatypes.GZIP_LAYERS:
        return True
    if media_type in mediatypes.PLAIN_LAYERS:
        return False
    text = f"The layer {descriptor.digest} is of the type {media_type}, which is no file system layer."
    raise Misconfigured("layer-media-type", text, "Name a container image, not another kind of artefact.")


def require_runnable(manifest: Manifest, config: ImageConfig, reference: str) -> None:
    """Refuse what is no container image for our platform.

    Raises:
        Malformed: `config-layers`.
        Misconfigured: `image-kind`, `image-platform`.
    """
    if manifest.config.media_type not in mediatypes.CONFIGS:
        text = f"{reference} is an artefact of the type {manifest.config.media_type}, not a container image."
        raise Misconfigured("image-kind", text, "Name a container image.")
    if (config.platform.os, config.platform.architecture) != (PLATFORM.os, PLATFORM.architecture):
        text = f"{reference} is for {config.platform}; only {PLATFORM} can run in an enclave."
        raise Misconfigured("image-platform", text, "Fetch the image for linux/amd64.")
    if len(config.diff_ids) != len(manifest.layers):
        text = f"{reference} has {len(manifest.layers)} layers and {len(config.diff_ids)} digests of them."
        raise Malformed("config-layers", text, "The image is damaged: fetch it again.")
