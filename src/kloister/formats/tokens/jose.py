"""Compact JWS (RFC 7515) and the JWT claims in it (RFC 7519), read strictly; signing with RS256, ES256, ES384."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.wire import b64url, canonical_json, load_json, unb64url

MAX_SIZE = 1024 * 1024  # characters of a token; an EAR about several GPUs has 170 thousand
_MAX_HEADER = 64 * 1024  # bytes of the header, which may hold a chain of certificates
_PARTS = 3

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Algorithm(StrEnum):
    """The signatures that are known (RFC 7518, section 3.1)."""

    RS256 = "RS256"
    ES256 = "ES256"
    ES384 = "ES384"


_ALGORITHMS = {str(each): each for each in Algorithm}
_HASHES = {Algorithm.RS256: hashes.SHA256(), Algorithm.ES256: hashes.SHA256(), Algorithm.ES384: hashes.SHA384()}
_CURVES = {Algorithm.ES256: ("secp256r1", 32), Algorithm.ES384: ("secp384r1", 48)}  # and bytes of r, and of s


@dataclass(frozen=True, slots=True, kw_only=True)
class Jws:
    """A token, parsed; nothing about it has been verified."""

    header: Mapping[str, Any] = field(repr=False)
    payload: bytes = field(repr=False)
    signed: bytes = field(repr=False)  # the ASCII text that the signature covers
    signature: bytes = field(repr=False)  # empty of an unsecured one

    @classmethod
    def parse(cls, token: str | bytes) -> Self:
        """Read the compact form: three parts of base64url without padding, the first a JSON object with unique keys.

        Raises:
            Malformed: `token-size`, `token-syntax`, `token-base64url`, `token-header-json`, `token-header-size`,
                `token-header` (no object, no `alg`, or extensions that must be understood: `crit`, `b64`).
        """
        if len(token) > MAX_SIZE:
            raise Malformed("token-size", f"A token has {len(token)} characters; at most {MAX_SIZE} are read.")
        try:
            text = token if isinstance(token, str) else token.decode("ascii")
        except UnicodeDecodeError:
            raise _no_token() from None
        parts = text.split(".")
        if len(parts) != _PARTS or not parts[0]:
            raise _no_token()
        header, payload, signature = (unb64url(part, "token") for part in parts)
        signed = text.rpartition(".")[0].encode("ascii")
        return cls(header=_header(header), payload=payload, signed=signed, signature=signature)

    @property
    def claims(self) -> dict[str, Any]:
        """The payload as a JSON object (RFC 7519, section 4). Raises `Malformed`: `token-claims`, `*-json`."""
        claims = load_json(self.payload, "token-claims", MAX_SIZE)
        if not isinstance(claims, dict):
            raise Malformed("token-claims", "The token's payload is not a JSON object.")
        return claims

    @property
    def algorithm(self) -> str:
        """What the header says; it may be any text."""
        return str(self.header["alg"])

    @property
    def kid(self) -> str | None:
        """The name of the key."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None

    def build(self) -> str:
        """The compact form."""
        return f"{self.signed.decode('ascii')}.{b64url(self.signature)}"

    def check_signed_by(self, key: PublicKey) -> None:
        """Return if the key made the signature by the algorithm of the header, and this algorithm is one of its kind.

        Raises:
            Unverified: `token-unsecured` (`alg` is `none`), `token-algorithm`, `token-signature`.
        """
        algorithm = known_algorithm(self.algorithm)
        if not fits(algorithm, key):
            raise Unverified("token-algorithm", f"The key is of another kind than the token's algorithm {algorithm}.")
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(self.signature, self.signed, padding.PKCS1v15(), _HASHES[algorithm])
            else:
                key.verify(_der(self.signature, algorithm), self.signed, ec.ECDSA(_HASHES[algorithm]))
        except InvalidSignature:
            raise _bad_signature() from None


def known_algorithm(name: str) -> Algorithm:
    """The algorithm of a header. Raises `Unverified`: `token-unsecured`, `token-algorithm`."""
    if name.lower() == "none":
        raise Unverified(
            "token-unsecured", "The token is not signed (alg none): anybody may have written it.", "Get a signed one."
        )
    if name not in _ALGORITHMS:
        known = ", ".join(Algorithm)
        raise Unverified(
            "token-algorithm", f"The token is signed by {name[:32]!a}, which is not accepted; {known} are.", ""
        )
    return _ALGORITHMS[name]


def algorithm_of(key: PublicKey | PrivateKey) -> Algorithm:
    """The one algorithm that a key signs by. Raises `Malformed`: `token-key` (another curve)."""
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return Algorithm.RS256
    for algorithm, (curve, _) in _CURVES.items():
        if key.curve.name == curve:
            return algorithm
    raise Malformed("token-key", f"Keys of the curve {key.curve.name} are not known; P-256 and P-384 are.")


def fits(algorithm: Algorithm, key: PublicKey) -> bool:
    """Whether a key may make signatures by this algorithm."""
    try:
        return algorithm_of(key) is algorithm
    except Malformed:
        return False


def sign(header: Mapping[str, Any], payload: bytes, key: PrivateKey) -> str:
    """The compact form of a payload under a key; `alg` follows from the key, the other members are the caller's.

    The header is compact JSON in sorted order. ECDSA is deterministic (RFC 6979): nothing is drawn.

    Args:
        header: `kid`, `typ` and others.
        payload: the claims as JSON, or anything else.
        key: RSA, P-256 or P-384.
    """
    algorithm = algorithm_of(key)
    if header.get("alg", algorithm) != algorithm:
        raise Misused("token-key", "The header names another algorithm than the key's.")
    signed = _signed({**header, "alg": str(algorithm)}, payload)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed, padding.PKCS1v15(), _HASHES[algorithm])
    else:
        size = _CURVES[algorithm][1]
        der = key.sign(signed, ec.ECDSA(_HASHES[algorithm], deterministic_signing=True))
        signature = b"".join(number.to_bytes(size, "big") for number in utils.decode_dss_signature(der))
    return f"{signed.decode('ascii')}.{b64url(signature)}"


def unsecured(header: Mapping[str, Any], payload: bytes) -> str:
    """The compact form without a signature (RFC 7515, A.5): for drafts and policies, never for tokens to rely on."""
    return f"{_signed({**header, 'alg': 'none'}, payload).decode('ascii')}."


def _signed(header: Mapping[str, Any], payload: bytes) -> bytes:
    return f"{b64url(canonical_json(dict(header)))}.{b64url(payload)}".encode("ascii")


def _header(data: bytes) -> dict[str, Any]:
    header = load_json(data, "token-header", _MAX_HEADER)
    if not isinstance(header, dict) or not isinstance(header.get("alg"), str) or {"crit", "b64"} & set(header):
        raise Malformed("token-header", "The token's header is no object with an alg, or asks for what is not known.")
    return header


def _der(signature: bytes, algorithm: Algorithm) -> bytes:
    """DER of r and s (RFC 7518, section 3.4)."""
    size = _CURVES[algorithm][1]
    if len(signature) != 2 * size:
        raise _bad_signature()
    return utils.encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))


def _no_token() -> Malformed:
    return Malformed(
        "token-syntax", "This is no token: three parts of base64url with dots between them.", "Give the token alone."
    )


def _bad_signature() -> Unverified:
    return Unverified(
        "token-signature",
        "The token's signature does not verify.",
        "It was changed after signing, or another key of the same name made it: get the issuer's keys again.",
    )
