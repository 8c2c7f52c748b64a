"""Layers in canonical form: entries in the order of the tree, real paths, hard links behind their file.

A private layer holds exactly the entries of the finished root that come from one source layer: what was deleted or
replaced further up does not leave with it, and whoever places the entries needs no rules for whiteouts.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from kloister.formats.enclave.launch import PrivateLayer
from kloister.formats.enclave.private import layer_key, layer_nonce
from kloister.formats.enclave.tree import Kind, Tree
from kloister.formats.oci.crypt import Encryptor, PublicOptions
from kloister.formats.oci.descriptor import Descriptor
from kloister.formats.oci.mediatypes import ENCRYPTED, OCI_LAYER_GZIP
from kloister.formats.oci.tar import BLOCK, END, TarHeader, TarKind, build_header
from kloister.images.layers.merged import Located, MergedRoot

_LEVEL = 4  # gzip: private layers are made anew at each conversion; 6 takes twice as long for 2 % less
_GZIP = 31  # zlib's wbits for a gzip member; its header has no date and no name
_TYPES = {
    Kind.FILE: TarKind.FILE,
    Kind.DIRECTORY: TarKind.DIRECTORY,
    Kind.SYMLINK: TarKind.SYMLINK,
    Kind.HARDLINK: TarKind.HARDLINK,
}

Chunks = Callable[[], Iterator[bytes]]  # the same bytes at every call


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
        for item in self.located:
            yield build_header(_header(item))
            if item.entry.kind is Kind.FILE:
                yield from self.root.content(item)
                yield bytes(-item.entry.size % BLOCK)
        yield END


def plain_layer(part: Part, sink: BlobSink) -> tuple[Descriptor, str]:
    """Write the part as a gzip layer; returns its descriptor and its diff_id."""
    hasher = hashlib.sha256()
    descriptor = sink.add_blob(OCI_LAYER_GZIP, _gzip(_hashed(part.tar(), hasher.update)))
    return descriptor, "sha256:" + hasher.hexdigest()


def private_layer(part: Part, secret: bytes, sink: BlobSink) -> tuple[Descriptor, str, PrivateLayer]:
    """Write the part as an encrypted gzip layer.

    Nonce and key follow from the secret and the digest of the blob before encryption, so the blob is made twice: once
    for the digest, once for the ciphertext. Returns the descriptor, the diff_id and what the launch document says.
    """
    plain, stored = hashlib.sha256(), hashlib.sha256()
    for chunk in _gzip(_hashed(part.tar(), plain.update)):
        stored.update(chunk)
    nonce = layer_nonce(secret, "sha256:" + stored.hexdigest())
    encryptor = Encryptor(layer_key(secret, nonce), nonce)
    media_type = OCI_LAYER_GZIP + ENCRYPTED
    written = sink.add_blob(media_type, (encryptor.update(chunk) for chunk in _gzip(part.tar())))
    mac = encryptor.finish()
    descriptor = replace(written, annotations=PublicOptions(mac).annotations())
    return descriptor, "sha256:" + plain.hexdigest(), _described(descriptor, mac, nonce)


def _described(descriptor: Descriptor, mac: bytes, nonce: bytes) -> PrivateLayer:
    return PrivateLayer(
        digest=descriptor.digest,
        size=descriptor.size,
        media_type=descriptor.media_type,
        hmac=base64.b64encode(mac).decode("ascii"),
        nonce=base64.b64encode(nonce).decode("ascii"),
    )


def _header(item: Located) -> TarHeader:
    entry = item.entry
    name = entry.path.lstrip(b"/") or b"."
    target = entry.target.lstrip(b"/") if entry.kind is Kind.HARDLINK else entry.target
    if entry.kind is Kind.DIRECTORY:
        name += b"/"
    return TarHeader(name, _TYPES[entry.kind], entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, target)


def _hashed(chunks: Iterable[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
    for chunk in chunks:
        update(chunk)
        yield chunk


def _gzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()
