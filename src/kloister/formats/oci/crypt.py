"""The cipher of encrypted layers, as ocicrypt defines it: AES-256-CTR, then HMAC-SHA256 over the ciphertext.

Source: containers/ocicrypt, `blockcipher/blockcipher_aes_ctr.go`. The same key serves both; the nonce is the whole
first counter block (128 bits, big-endian); the ciphertext has the plaintext's length. Nonce, digest and position are
not authenticated: whoever reads must know them from a signed or measured document.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Self

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.wire import load_json

CIPHER: Final = "AES_256_CTR_HMAC_SHA256"
KEY_SIZE: Final = 32  # bytes
NONCE_SIZE: Final = 16  # bytes
HMAC_SIZE: Final = 32  # bytes
PUBOPTS: Final = "org.opencontainers.image.enc.pubopts"  # annotation of the layer's descriptor: base64 of the JSON
_MAX_OPTIONS: Final = 64 << 10  # bytes of one options document; real ones have 200


class Encryptor:
    """Encrypts a blob from front to back; `finish` gives the HMAC."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        _require_sizes(key, nonce)
        self._cipher = Cipher(AES(key), CTR(nonce)).encryptor()
        self._mac = hmac.new(key, digestmod=sha256)

    def update(self, data: bytes) -> bytes:
        """The next bytes, encrypted."""
        encrypted = self._cipher.update(data)
        self._mac.update(encrypted)
        return encrypted

    def finish(self) -> bytes:
        """The HMAC of the ciphertext, 32 bytes."""
        return self._mac.digest()


class Decryptor:
    """Decrypts a blob from front to back; nothing of it may be used before `finish` has returned."""

    def __init__(self, key: bytes, nonce: bytes, expected: bytes) -> None:
        _require_sizes(key, nonce)
        self._cipher = Cipher(AES(key), CTR(nonce)).decryptor()
        self._mac = hmac.new(key, digestmod=sha256)
        self._expected = expected

    def update(self, data: bytes) -> bytes:
        """The next bytes, decrypted but not yet known to be genuine."""
        self._mac.update(data)
        return self._cipher.update(data)

    def finish(self) -> None:
        """Say whether all of it was genuine.

        Raises:
            Unverified: `layer-hmac`.
        """
        if not hmac.compare_digest(self._mac.digest(), self._expected):
            raise Unverified(
                "layer-hmac",
                "The encrypted layer was changed, or the key is not the one that it was encrypted with.",
                "Convert the image again, or give the policy the key that belongs to it.",
            )


@dataclass(frozen=True, slots=True)
class PublicOptions:
    """What stands in clear beside an encrypted layer; `nonce` is empty where it stands in the private options."""

    hmac: bytes
    nonce: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the public options document.

        Raises:
            Malformed: `pubopts-json`, `pubopts-size`, `pubopts-cipher`, `pubopts-field`.
        """
        value = load_json(data, "pubopts", _MAX_OPTIONS)
        if not isinstance(value, dict) or value.get("cipher") != CIPHER:
            raise Malformed("pubopts-cipher", f"The layer is not encrypted with {CIPHER}, the only cipher there is.")
        return cls(_base64(value, "hmac", HMAC_SIZE, "pubopts"), _nonce(value, "pubopts"))

    @classmethod
    def of_annotations(cls, annotations: Mapping[str, str]) -> Self:
        """From the annotations of a layer's descriptor.

        Raises:
            Malformed: `pubopts-missing`, and as `parse`.
        """
        if PUBOPTS not in annotations:
            raise Malformed("pubopts-missing", f"The encrypted layer has no annotation {PUBOPTS}.")
        return cls.parse(_unbase64(annotations[PUBOPTS], "pubopts"))

    def build(self) -> bytes:
        """The JSON in ocicrypt's order of fields."""
        options = {"nonce": _text(self.nonce)} if self.nonce else {}
        return _dump({"cipher": CIPHER, "hmac": _text(self.hmac), "cipheroptions": options})

    def annotations(self) -> dict[str, str]:
        """The annotation that carries it."""
        return {PUBOPTS: _text(self.build())}


@dataclass(frozen=True, slots=True)
class PrivateOptions:
    """What is wrapped for each recipient: key, nonce, and the digest of the blob before encryption."""

    key: bytes = field(repr=False)
    nonce: bytes
    digest: str

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the private options document.

        Raises:
            Malformed: `privopts-json`, `privopts-size`, `privopts-field`.
        """
        value = load_json(data, "privopts", _MAX_OPTIONS)
        if not isinstance(value, dict) or not isinstance(value.get("digest"), str):
            raise Malformed("privopts-field", "The private options of a layer have no digest.")
        return cls(_base64(value, "symkey", KEY_SIZE, "privopts"), _nonce(value, "privopts"), value["digest"])

    def build(self) -> bytes:
        """The JSON in ocicrypt's order of fields."""
        options = {"nonce": _text(self.nonce)} if self.nonce else {}
        return _dump({"symkey": _text(self.key), "digest": self.digest, "cipheroptions": options})


def _require_sizes(key: bytes, nonce: bytes) -> None:
    if len(key) != KEY_SIZE or len(nonce) != NONCE_SIZE:
        raise Misused("layer-key-size", f"A layer's key has {KEY_SIZE} bytes and its nonce {NONCE_SIZE}.")


def _nonce(value: Mapping[str, Any], what: str) -> bytes:
    options = value.get("cipheroptions") or {}
    if not isinstance(options, dict):
        raise Malformed(f"{what}-field", f"The {what} of a layer have cipher options that are no object.")
    return _base64(options, "nonce", NONCE_SIZE, what) if "nonce" in options else b""


def _base64(value: Mapping[str, Any], name: str, size: int, what: str) -> bytes:
    data = _unbase64(value.get(name), what)
    if len(data) != size:
        raise Malformed(f"{what}-field", f"The {what} of a layer have a {name} that is not of {size} bytes.")
    return data


def _unbase64(text: Any, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Malformed(f"{what}-field", f"The {what} of a layer hold something that is not base64.") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
