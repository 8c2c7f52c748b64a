"""The two kinds of signatures in SNP evidence: RSA-PSS in certificates and lists, ECDSA P-384 in reports."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from kloister.errors import Unverified
from kloister.formats.pki import der

SALT = 48  # bytes
_WHAT = "amd-signature-algorithm"
_RSASSA_PSS = bytes.fromhex("2a864886f70d01010a")
_SHA384 = bytes.fromhex("608648016503040202")
_MGF1 = bytes.fromhex("2a864886f70d010108")
_NULL = 0x05
_HASH_TAG, _MASK_TAG, _SALT_TAG, _TRAILER_TAG = 0xA0, 0xA1, 0xA2, 0xA3
_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), SALT)
_HASH = hashes.SHA384()
_ECDSA = ec.ECDSA(_HASH)
_HINT = "It was changed after signing, or another key made it."


def is_pss_sha384(identifier: bytes) -> bool:
    """Whether the content of an AlgorithmIdentifier is RSASSA-PSS with SHA-384, MGF1 with SHA-384, salt of 48 bytes.

    Raises `Malformed`: `amd-signature-algorithm-der`. AMD's older certificates write the default trailer field out.
    """
    parts = der.split(identifier, _WHAT)
    if len(parts) != 2 or parts[0] != der.Element(der.OBJECT_IDENTIFIER, _RSASSA_PSS):  # noqa: PLR2004 -- RFC 4055, 3.1
        return False
    parameters = {part.tag: part.content for part in der.split(der.expect(parts[1], der.SEQUENCE, _WHAT), _WHAT)}
    if set(parameters) - {_TRAILER_TAG} != {_HASH_TAG, _MASK_TAG, _SALT_TAG}:
        return False
    mask = der.split(der.single(parameters[_MASK_TAG], der.SEQUENCE, _WHAT), _WHAT)
    return (
        _is_sha384(der.one(der.split(parameters[_HASH_TAG], _WHAT), _WHAT))
        and mask[:1] == (der.Element(der.OBJECT_IDENTIFIER, _MGF1),)
        and _is_sha384(der.one(mask[1:], _WHAT))
        and parameters[_SALT_TAG] == der.encode_unsigned(der.INTEGER, SALT)
        and parameters.get(_TRAILER_TAG, der.encode_unsigned(der.INTEGER, 1)) == der.encode_unsigned(der.INTEGER, 1)
    )


def check_pss(key: rsa.RSAPublicKey, signature: bytes, data: bytes, code: str, what: str) -> None:
    """Return if the RSA-PSS signature over `data` was made with the key's private half; `Unverified` otherwise."""
    try:
        key.verify(signature, data, _PSS, _HASH)
    except InvalidSignature:
        raise Unverified(code, f"The signature over {what} does not verify.", _HINT) from None


def check_p384(key: ec.EllipticCurvePublicKey, r: int, s: int, data: bytes, code: str, what: str) -> None:
    """Return if the numbers `r` and `s` are the key's ECDSA signature over `data`; `Unverified` otherwise."""
    try:
        key.verify(utils.encode_dss_signature(r, s), data, _ECDSA)
    except InvalidSignature:
        raise Unverified(code, f"The signature over {what} does not verify.", _HINT) from None


def _is_sha384(identifier: der.Element) -> bool:
    """The hash with or without the NULL parameter: RFC 4055, 2.1, wants both accepted."""
    parts = der.split(der.expect(identifier, der.SEQUENCE, _WHAT), _WHAT)
    return parts[:1] == (der.Element(der.OBJECT_IDENTIFIER, _SHA384),) and parts[1:] in ((), (der.Element(_NULL, b""),))
