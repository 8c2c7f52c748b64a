"""The private part of an image: keys of its encrypted layers, and the tree of the entries that they hold.

One 32-byte secret of the policy opens everything. Each blob has a nonce of its own, made from the secret and the digest
of the blob before encryption, and a key made from the secret and that nonce: the same blob gives the same ciphertext
again, and no two blobs share a key stream.

    nonce = HKDF-SHA256(secret, info = "kloister/layer/v1/nonce" || digest, 16)
    key   = HKDF-SHA256(secret, info = "kloister/layer/v1/key" || nonce, 32)

`private.tree` is AES-256-GCM: 12 bytes of nonce (HMAC of the plaintext, cut), then ciphertext and tag. The plaintext is
one tree document per encrypted layer, in the order of the launch document's `private.layers`, each behind its length as
u32 big-endian. A layer's document lists exactly the entries of the finished root that come from this layer.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.enclave.tree import Tree
from kloister.formats.oci.crypt import KEY_SIZE, NONCE_SIZE
from kloister.formats.wire import length_prefixed

SECRET_SIZE: Final = 32  # bytes
MAX_LAYERS: Final = 500  # as many as an image may have
_GCM_NONCE: Final = 12  # bytes
_LENGTH: Final = 4  # bytes of a length prefix


def layer_nonce(secret: bytes, digest: str) -> bytes:
    """The nonce for the blob whose digest before encryption is `digest` (`sha256:..`), 16 bytes."""
    return _derive(secret, b"kloister/layer/v1/nonce" + digest.encode("ascii"), NONCE_SIZE)


def layer_key(secret: bytes, nonce: bytes) -> bytes:
    """The key that goes with a nonce, 32 bytes."""
    return _derive(secret, b"kloister/layer/v1/key" + nonce, KEY_SIZE)


def seal_private_trees(secret: bytes, trees: Iterable[Tree]) -> bytes:
    """The bytes of `private.tree`."""
    plain = length_prefixed([tree.build() for tree in trees])
    key, mac = _tree_keys(secret)
    nonce = hmac.digest(mac, plain, "sha256")[:_GCM_NONCE]
    return nonce + AESGCM(key).encrypt(nonce, plain, None)


def open_private_trees(secret: bytes, data: bytes, count: int) -> tuple[Tree, ...]:
    """The tree documents of `private.tree`, one for each of the `count` encrypted layers.

    Raises:
        Unverified: `private-tree` when the secret is another or a byte was changed.
        Malformed: `private-tree`, `tree-*`.
    """
    key, _ = _tree_keys(secret)
    try:
        plain = AESGCM(key).decrypt(data[:_GCM_NONCE], data[_GCM_NONCE:], None)
    except (InvalidTag, ValueError):
        raise Unverified(
            "private-tree",
            "The list of the private files does not open with this key.",
            "Give the policy the key that the image was converted with, or convert again.",
        ) from None
    return tuple(Tree.parse(document, whole=False) for document in _split(plain, count))


def _split(plain: bytes, count: int) -> list[bytes]:
    documents, at = [], 0
    while at < len(plain):
        size = int.from_bytes(plain[at : at + _LENGTH], "big")
        documents.append(plain[at + _LENGTH : at + _LENGTH + size])
        at += _LENGTH + size
    if at != len(plain) or len(documents) != count or count > MAX_LAYERS:
        raise Malformed("private-tree", f"The list of the private files does not have {count} parts.")
    return documents


def _tree_keys(secret: bytes) -> tuple[bytes, bytes]:
    both = _derive(secret, b"kloister/private-tree/v1", 64)
    return both[:32], both[32:]


def _derive(secret: bytes, info: bytes, size: int) -> bytes:
    if len(secret) != SECRET_SIZE:
        raise Misused("layer-secret-size", f"The secret of the private layers has {SECRET_SIZE} bytes.")
    return HKDF(SHA256(), size, None, info).derive(secret)
