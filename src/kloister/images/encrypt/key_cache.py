"""The sealed key cache: the same image converted again for the same policy is encrypted with the same secret.

One file, AES-256-GCM under a key made from the user's signing key, readable by its owner only. Losing it costs
nothing but identical blobs: the next conversion draws a new secret.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kloister import entropy, files
from kloister.errors import Malformed, Misconfigured
from kloister.formats.enclave.private import SECRET_SIZE
from kloister.formats.wire import canonical_json, load_json

_MAGIC: Final = b"kloister-keys/1\n"
_NONCE: Final = 12  # bytes
_MAX_FILE: Final = 4 << 20  # bytes: 30,000 secrets


class KeyCache:
    """Secrets by image and policy.

    Args:
        path: the file; made when it is missing.
        signing_key: the user's key; another key cannot open the file.
    """

    def __init__(self, path: Path, signing_key: RSAPrivateKey) -> None:
        self._path = path
        self._key = _sealing_key(signing_key)

    def secret(self, image: str, policy: str, *, kept: bool = True) -> bytes:
        """The secret of an image (its digest) for a policy (`namespace/name`), drawn if there is none; 32 bytes.

        Args:
            image: digest of the source image.
            policy: `namespace/name`.
            kept: whether a new secret is written; a dry run writes nothing.

        Raises:
            Misconfigured: `key-cache-locked` (another signing key, or damaged), `key-cache-permissions`.
        """
        name = f"{image} {policy}"
        if not kept:
            return self._load().get(name) or entropy.draw(SECRET_SIZE)
        with self._locked():
            secrets = self._load()
            if name not in secrets:
                secrets[name] = entropy.draw(SECRET_SIZE)
                self._store(secrets)
            return secrets[name]

    def has(self, image: str, policy: str) -> bool:
        """Whether a secret is kept for the image and the policy; raises as `secret`."""
        return f"{image} {policy}" in self._load()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _load(self) -> dict[str, bytes]:
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise Misconfigured(
                        "key-cache-permissions",
                        f"Others may read the key cache {self._path}.",
                        f"chmod 600 {self._path}",
                    )
                data = file.read(_MAX_FILE + 1)
        except FileNotFoundError:
            return {}
        return self._open(data)

    def _open(self, data: bytes) -> dict[str, bytes]:
        at = len(_MAGIC)
        try:
            plain = AESGCM(self._key).decrypt(data[at : at + _NONCE], data[at + _NONCE :], data[:at])
            value = load_json(plain, "key-cache", _MAX_FILE)
            return {str(name): base64.b64decode(text, validate=True) for name, text in value.items()}
        except (InvalidTag, ValueError, binascii.Error, AttributeError, Malformed):
            raise Misconfigured(
                "key-cache-locked",
                f"The key cache {self._path} is damaged, or was made with another signing key.",
                "Use the same --key as before, or name another file with --key-cache; new secrets are drawn then.",
            ) from None

    def _store(self, secrets: dict[str, bytes]) -> None:
        plain = canonical_json({name: base64.b64encode(secret).decode() for name, secret in secrets.items()})
        nonce = entropy.draw(_NONCE)
        data = _MAGIC + nonce + AESGCM(self._key).encrypt(nonce, plain, _MAGIC)
        files.replace(self._path, data)


def _sealing_key(signing_key: RSAPrivateKey) -> bytes:
    numbers = signing_key.private_numbers()
    material = numbers.d.to_bytes(512, "big") + numbers.public_numbers.n.to_bytes(512, "big")
    return HKDF(SHA256(), 32, None, b"kloister/key-cache/v1").derive(material)
