"""Public keys and sets of them (RFC 7517, RFC 7518 section 6): RSA, P-256, P-384, as numbers or as certificates."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kloister.errors import KloisterError, Malformed
from kloister.formats.pki.unreadable import UNREADABLE
from kloister.formats.tokens.jose import Algorithm, PublicKey, algorithm_of
from kloister.formats.wire import b64url, load_json, unb64url

MAX_SIZE = 1024 * 1024  # bytes of a set
MAX_KEYS = 64  # of a set; issuers publish a handful
_MAX_CERTIFICATES = 8  # of one key
_MAX_CERTIFICATE = 64 * 1024  # bytes, base64; one that carries a quote has some 15 KiB
_MIN_RSA, _MAX_RSA = 2048, 8192  # bits (RFC 7518, section 3.3, wants 2048 or more)
_MAX_EXPONENT = 8  # bytes; everybody's is 65537
_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {"P-256": (ec.SECP256R1(), 32), "P-384": (ec.SECP384R1(), 48)}
_NAMES = {curve.name: name for name, (curve, _) in _CURVES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Jwk:
    """One public key.

    Attributes:
        kid: its name; empty where it has none.
        key: it.
        x5c: certificates, DER, the first that of the key; may be empty.
    """

    kid: str
    key: PublicKey = field(repr=False, compare=False)
    x5c: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read one key; certificate and numbers must be of one key where both are there.

        Raises:
            Malformed: `jwk-field`, `jwk-certificate`, `jwk-key`, `jwk-base64url`.
        """
        if not isinstance(value, dict) or not isinstance(value.get("kid", ""), str):
            raise _unfit("is no object, or its kid is no text")
        if value.get("use", "sig") != "sig":
            raise _unfit("is not for signatures")
        x5c = _certificates(value.get("x5c", []))
        found = [_of_certificate(x5c[0])] if x5c else []
        if "n" in value or "x" in value or not found:
            found.append(_of_numbers(value))
        if any(key.public_numbers() != found[0].public_numbers() for key in found):
            raise Malformed("jwk-key", "A key's certificate is that of another key.")
        kind = "RSA" if isinstance(found[0], rsa.RSAPublicKey) else "EC"
        algorithm = algorithm_of(found[0])
        if value.get("kty") != kind or value.get("alg", algorithm) != algorithm:
            raise _unfit("has a kty or alg that is not the key's")
        return cls(kid=value.get("kid", ""), key=found[0], x5c=x5c)

    @property
    def algorithm(self) -> Algorithm:
        """What it signs by."""
        return algorithm_of(self.key)

    def as_json(self) -> dict[str, Any]:
        """The object of a key set: numbers, and certificates if there are any."""
        return jwk_of(self.key, self.kid, self.x5c)


@dataclass(frozen=True, slots=True)
class JwkSet:
    """The keys of an issuer."""

    keys: tuple[Jwk, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read `{"keys": [...]}`; keys of kinds that are not known are passed over (RFC 7517, section 5).

        Raises:
            Malformed: `jwks-size`, `jwks-json`, `jwks-field`.
        """
        value = load_json(data, "jwks", MAX_SIZE)
        keys = value.get("keys") if isinstance(value, dict) else None
        if not isinstance(keys, list) or len(keys) > MAX_KEYS:
            raise Malformed("jwks-field", f"This is no set of at most {MAX_KEYS} keys.", 'A set is {"keys": [...]}.')
        found = []
        for each in keys:
            try:
                found.append(Jwk.from_json(each))
            except KloisterError:
                continue
        return cls(tuple(found))

    def named(self, kid: str | None) -> tuple[Jwk, ...]:
        """The keys of this name."""
        return tuple(key for key in self.keys if key.kid == (kid or ""))

    def as_json(self) -> dict[str, Any]:
        """The document."""
        return {"keys": [key.as_json() for key in self.keys]}


def jwk_of(key: PublicKey, kid: str, x5c: Sequence[bytes] = ()) -> dict[str, Any]:
    """The object of a public key: kid, kty, alg, use, its numbers, and its certificates (DER) in standard base64."""
    members: dict[str, Any] = {"kid": kid, "use": "sig", "alg": str(algorithm_of(key))}
    if isinstance(key, rsa.RSAPublicKey):
        rsa_numbers = key.public_numbers()
        members |= {"kty": "RSA", "n": _number(rsa_numbers.n), "e": _number(rsa_numbers.e)}
    else:
        numbers, name = key.public_numbers(), _NAMES[key.curve.name]
        size = _CURVES[name][1]
        members |= {"kty": "EC", "crv": name, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}
    return members | ({"x5c": [base64.b64encode(one).decode("ascii") for one in x5c]} if x5c else {})


def _certificates(value: Any) -> tuple[bytes, ...]:
    fit = isinstance(value, list) and len(value) <= _MAX_CERTIFICATES
    if not fit or not all(isinstance(one, str) and len(one) <= _MAX_CERTIFICATE for one in value):
        raise _unfit("has an x5c that is no list of certificates")
    try:
        return tuple(base64.b64decode(one, validate=True) for one in value)
    except (binascii.Error, ValueError):
        raise Malformed("jwk-certificate", "A certificate of a key is not base64.") from None


def _of_certificate(data: bytes) -> PublicKey:
    try:
        key = x509.load_der_x509_certificate(data).public_key()
    except UNREADABLE:
        raise Malformed("jwk-certificate", "A certificate of a key is not well-formed X.509.") from None
    if isinstance(key, rsa.RSAPublicKey):
        return _checked(key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key
    raise Malformed("jwk-key", "A key is neither RSA nor of an elliptic curve.")


def _of_numbers(value: Mapping[str, Any]) -> PublicKey:
    try:
        if value.get("kty") == "RSA":
            modulus, exponent = (unb64url(value.get(name, ""), "jwk") for name in ("n", "e"))
            if len(modulus) > _MAX_RSA // 8 or len(exponent) > _MAX_EXPONENT:
                raise _unfit("has numbers that are too large")
            numbers = rsa.RSAPublicNumbers(n=int.from_bytes(modulus, "big"), e=int.from_bytes(exponent, "big"))
            return _checked(numbers.public_key())
        if value.get("kty") == "EC" and str(value.get("crv")) in _CURVES:
            curve, size = _CURVES[str(value["crv"])]
            point = [unb64url(value.get(name, ""), "jwk") for name in ("x", "y")]
            if all(len(part) == size for part in point):
                return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + b"".join(point))
    except ValueError:
        raise Malformed("jwk-key", "A key's numbers are no key.") from None
    raise _unfit("is neither RSA nor of P-256 or P-384")


def _checked(key: rsa.RSAPublicKey) -> rsa.RSAPublicKey:
    if not _MIN_RSA <= key.key_size <= _MAX_RSA:
        raise Malformed("jwk-key", f"An RSA key has {key.key_size} bits; {_MIN_RSA} to {_MAX_RSA} are accepted.")
    return key


def _number(value: int, size: int | None = None) -> str:
    return b64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def _unfit(what: str) -> Malformed:
    return Malformed("jwk-field", f"A key of the set {what}.")
