"""The user's key that signs enclaves: RSA-3072 with exponent 3, in a file that only its owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from kloister import files
from kloister.errors import Misconfigured

_BITS = 3072
_EXPONENT = 3
_MAX_FILE = 64 << 10  # bytes; a PEM of this key has 2,500
_MAKE = "Let one be made: --make-key."


def make_signing_key(path: Path) -> RSAPrivateKey:
    """Make a key and write it (0600); a file that is there is never replaced.

    Raises:
        Misconfigured: `signing-key-exists`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        raise Misconfigured("signing-key-exists", f"{path} exists already.", "Use it with --key, or name another file.")
    key = rsa.generate_private_key(_EXPONENT, _BITS)
    files.replace(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def load_signing_key(path: Path) -> RSAPrivateKey:
    """Read a key in PEM.

    Raises:
        Misconfigured: `signing-key-missing`, `signing-key-permissions`, `signing-key-format`, `signing-key`.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_MAX_FILE)
    except FileNotFoundError:
        raise Misconfigured("signing-key-missing", f"The signing key {path} does not exist.", _MAKE) from None
    if status.st_mode & 0o077:
        text = f"Others may read or change the signing key {path}."
        raise Misconfigured("signing-key-permissions", text, f"chmod 600 {path}")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        text = f"{path} is not a private key in PEM without a passphrase."
        raise Misconfigured("signing-key-format", text, _MAKE) from None
    if not isinstance(key, RSAPrivateKey) or (key.key_size, key.public_key().public_numbers().e) != (_BITS, _EXPONENT):
        raise Misconfigured("signing-key", f"{path} is not an RSA key of 3072 bits with exponent 3.", _MAKE)
    return key
