"""ECDSA on P-256 with SHA-256, the only signature in SGX evidence and its collateral."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from kloister.errors import Malformed, Unverified

RAW_SIZE = 64  # bytes: r and s, 32 each, big-endian (DCAP API A.4)
_P256 = ec.SECP256R1()
_OF_DIGEST = ec.ECDSA(utils.Prehashed(hashes.SHA256()))  # hashlib hashes faster than cryptography does
_DETERMINISTIC = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)  # RFC 6979: no randomness is drawn


def p256_key(point: bytes, what: str) -> ec.EllipticCurvePublicKey:
    """The public key whose coordinates x and y (32 bytes each, big-endian) are `point`.

    Raises:
        Malformed: `{what}-point` if the point is not on the curve.
    """
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_P256, b"\x04" + point)
    except ValueError:
        raise Malformed(f"{what}-point", f"The {what} is not a point of the curve P-256.") from None


def raw_signature(raw: bytes) -> bytes:
    """DER (RFC 3279, 2.2.3) of a signature given as r and s, 32 bytes each, big-endian."""
    if len(raw) != RAW_SIZE:
        raise Malformed("signature-size", f"A P-256 signature has {RAW_SIZE} bytes, not {len(raw)}.")
    return utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))


def check_signature(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, code: str, what: str) -> None:
    """Return if `signature` (DER) over `data` was made with the key's private half.

    Raises:
        Unverified: `code`, naming `what` was to be signed.
    """
    try:
        key.verify(signature, hashlib.sha256(data).digest(), _OF_DIGEST)
    except InvalidSignature:
        raise Unverified(
            code,
            f"The signature over {what} does not verify.",
            "It was changed after signing, or another key made it.",
        ) from None


def sign_raw(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Both numbers, r and s (32 bytes each, big-endian), of the deterministic signature (RFC 6979) over `data`."""
    r, s = utils.decode_dss_signature(key.sign(data, _DETERMINISTIC))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
