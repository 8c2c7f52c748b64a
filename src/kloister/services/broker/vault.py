"""Encrypts secrets at rest: each record under a key of its own, that key under the broker's root key."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kloister.errors import Misconfigured
from kloister.formats.wire import length_prefixed

ROOT_SIZE = 32  # bytes
_NONCE = 12  # bytes, AES-GCM
_DOMAIN = b"kloister/broker/secret/v1"


class Vault:
    """Holds keys derived from the root key; never shows one.

    Args:
        root: the root key, 32 bytes.
        draw: the source of randomness.
    """

    def __init__(self, root: bytes, draw: Callable[[int], bytes]) -> None:
        self._wrapping = AESGCM(_derive(root, b"kloister/broker/wrapping/v1"))
        self._audit = _derive(root, b"kloister/broker/audit/v1")
        self._draw = draw

    def lock(self, plaintext: bytes, name: tuple[str, ...]) -> tuple[bytes, bytes]:
        """The record's wrapped key and the ciphertext; `name` (namespace, policy, secret, version) is bound to both."""
        key, associated = self._draw(32), _associated(name)
        first, second = self._draw(_NONCE), self._draw(_NONCE)
        wrapped = first + self._wrapping.encrypt(first, key, associated)
        return wrapped, second + AESGCM(key).encrypt(second, plaintext, associated)

    def unlock(self, wrapped: bytes, ciphertext: bytes, name: tuple[str, ...]) -> bytes:
        """The plaintext of a record.

        Raises:
            Misconfigured: `secret-damaged`, the record was changed, moved, or belongs to another root key.
        """
        associated = _associated(name)
        try:
            key = self._wrapping.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], associated)
            return AESGCM(key).decrypt(ciphertext[:_NONCE], ciphertext[_NONCE:], associated)
        except (InvalidTag, ValueError):
            raise Misconfigured(
                "secret-damaged",
                f"The stored secret {'/'.join(name)} cannot be decrypted with this root key.",
                "Restore broker.db and root.key together, from the same moment.",
            ) from None

    def authenticate(self, data: bytes) -> bytes:
        """HMAC-SHA256 (32 bytes) under the audit key."""
        return hmac.digest(self._audit, data, sha256)


def _derive(root: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, info).derive(root)


def _associated(name: tuple[str, ...]) -> bytes:
    return _DOMAIN + length_prefixed([part.encode() for part in name])
