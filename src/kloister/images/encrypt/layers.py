"""Layers in canonical form: entries in the order of the tree, real paths, hard links behind their file.

A private layer holds exactly the entries of the finished root that come from one source layer: what was deleted or
replaced further up does not leave with it, and whoever places the entries needs no rules for whiteouts.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from kloister.formats.enclave.launch import PrivateLayer
from kloister.formats.enclave.private import layer_key, layer_nonce
from kloister.formats.enclave.runtime import PRIVATE_PARTS
from kloister.formats.enclave.tree import Entry, Kind, Tree
from kloister.formats.oci.crypt import Encryptor, PublicOptions
from kloister.formats.oci.descriptor import Descriptor
from kloister.formats.oci.mediatypes import ENCRYPTED, OCI_LAYER_GZIP
from kloister.formats.oci.tar import TarHeader
from kloister.images.layers.merged import Located, MergedRoot
from kloister.images.layers.writing import DigestTap, gzip_chunks, header_of, tar_chunks

_CHUNK = 1 << 20  # bytes copied at once
_LEVEL = 4  # gzip: private layers are made anew at each conversion; 6 takes twice as long for 2 % less


class BlobSink(Protocol):
    """Where blobs go; `images.layout.LayoutWriter` is one."""

    def add_blob(
        self, media_type: str, chunks: Iterable[bytes], annotations: dict[str, str] | None = None
    ) -> Descriptor:
        """Write a blob whose digest is not known yet."""


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of a merged root that become one layer."""

    root: MergedRoot
    located: tuple[Located, ...]

    @property
    def tree(self) -> Tree:
        """The tree of the part."""
        return Tree(tuple(item.entry for item in self.located))

    def tar(self) -> Iterator[bytes]:
        """The layer as plain tar; its bytes depend on the entries alone."""
        return tar_chunks((header_of(item.entry), self._content(item)) for item in self.located)

    def _content(self, item: Located) -> Iterator[bytes]:
        return self.root.content(item) if item.entry.kind is Kind.FILE else iter(())


def plain_layer(part: Part, sink: BlobSink) -> tuple[Descriptor, str]:
    """Write the part as a gzip layer; returns its descriptor and its diff_id."""
    tar = DigestTap(part.tar())
    descriptor = sink.add_blob(OCI_LAYER_GZIP, gzip_chunks(tar, _LEVEL))
    return descriptor, tar.digest


def private_layer(part: Part, secret: bytes, sink: BlobSink) -> tuple[Descriptor, str, PrivateLayer]:
    """Write the part as an encrypted gzip layer.

    Nonce and key follow from the secret and the digest of the blob before encryption, so the blob is made twice: once
    for the digest, once for the ciphertext. Returns the descriptor, the diff_id and what the launch document says.
    """
    tar = DigestTap(part.tar())
    stored = DigestTap(gzip_chunks(tar, _LEVEL))
    for _ in stored:
        pass
    nonce = layer_nonce(secret, stored.digest)
    encryptor = Encryptor(layer_key(secret, nonce), nonce)
    media_type = OCI_LAYER_GZIP + ENCRYPTED
    written = sink.add_blob(media_type, (encryptor.update(chunk) for chunk in gzip_chunks(part.tar(), _LEVEL)))
    mac = encryptor.finish()
    descriptor = replace(written, annotations=PublicOptions(mac).annotations())
    return descriptor, tar.digest, _described(descriptor, mac, nonce)


def parts_layer(parts: Iterable[PrivateLayer], file: BinaryIO) -> Iterator[bytes]:
    """A plain tar whose files are encrypted layers, named by their digests.

    Args:
        parts: the layers.
        file: has their bytes, one layer behind the other.
    """
    folder = Entry(PRIVATE_PARTS.encode(), Kind.DIRECTORY, 0o755, 0, 0, 0)
    items: list[tuple[TarHeader, Iterable[bytes]]] = [(header_of(folder), ())]
    at = 0
    for part in parts:
        path = f"{PRIVATE_PARTS}/{part.digest.removeprefix('sha256:')}".encode()
        entry = Entry(path, Kind.FILE, 0o644, 0, 0, 0, part.size)
        items.append((header_of(entry), _piece(file, at, part.size)))
        at += part.size
    return tar_chunks(items)


def _piece(file: BinaryIO, at: int, size: int) -> Iterator[bytes]:
    file.seek(at)
    while size:
        chunk = file.read(min(size, _CHUNK))
        size -= len(chunk)
        yield chunk


def _described(descriptor: Descriptor, mac: bytes, nonce: bytes) -> PrivateLayer:
    return PrivateLayer(
        digest=descriptor.digest,
        size=descriptor.size,
        media_type=descriptor.media_type,
        hmac=base64.b64encode(mac).decode("ascii"),
        nonce=base64.b64encode(nonce).decode("ascii"),
    )
