"""The JWS in which Azure Attestation's clients send policies and certificates, in every form that they write.

Its header is `{"alg":"none"}`, `{"alg":..,"x5c":[..]}` (JavaScript, the documentation's tools) or
`{"alg":"RSA256"|"ECDH256","jwk":{"x5c":[..]}}` (Python). The names in `alg` are not those of RFC 7518, so the algorithm
follows from the certificate's key; what counts as unsigned follows from `alg` and an empty signature alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from kloister.errors import Malformed, Unverified
from kloister.formats.pki.unreadable import UNREADABLE
from kloister.formats.tokens.jose import Jws, PublicKey, unsecured
from kloister.formats.wire import b64url, canonical_json, load_json

MAX_POLICY = 256 * 1024  # bytes of the JWS; the longest policies in the field have 20 KiB
MAX_CERTIFICATES = 8  # of one chain
MAX_CERTIFICATE = 16 * 1024  # characters, base64
_MIN_RSA, _MAX_RSA = 2048, 8192  # bits
EMPTY = "eyJhbGciOiJub25lIn0.."  # unsigned, without a policy: what a reset is, and a type without default
_CLAIM = "AttestationPolicy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyToken:
    """A policy JWS, parsed; if it is signed, the signature is that of the first certificate's key.

    Attributes:
        text: as it was sent.
        payload: what is signed.
        chain: DER of the signer's certificates, the signer first; empty of an unsigned one.
        algorithm: RS256, ES256 or ES384, by the key; empty of an unsigned one.
    """

    text: str = field(repr=False)
    payload: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    algorithm: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one and verify its signature by its own certificate; whether that may sign is for the caller.

        Raises:
            Malformed: `policy-token-*`, `token-*`.
            Unverified: `policy-token-signature`.
        """
        if len(text) > MAX_POLICY:
            raise Malformed("policy-token-size", f"The policy token has more than {MAX_POLICY} characters.")
        jws = Jws.parse(text)
        if jws.algorithm.lower() == "none":
            if jws.signature:
                raise Malformed("policy-token-signature", "A token with alg none must not have a signature.")
            return cls(text=text, payload=jws.payload)
        chain = _chain(jws.header)
        key = _key(chain[0])
        return cls(text=text, payload=jws.payload, chain=chain, algorithm=_check(jws, key))

    @property
    def sha256(self) -> str:
        """base64url of SHA-256 of the token as sent: `x-ms-policy-token-hash`."""
        return b64url(hashlib.sha256(self.text.encode("ascii")).digest())

    @property
    def content(self) -> str:
        """base64url of SHA-256 of what is signed, the same for every signature over it: ECDSA has two, in two forms."""
        return b64url(hashlib.sha256(self.text.rpartition(".")[0].encode("ascii")).digest())

    @property
    def policy(self) -> str:
        """The policy's text. Raises `Malformed`: `policy-token-claim`."""
        encoded = self.claims().get(_CLAIM)
        if not isinstance(encoded, str):
            raise Malformed(
                "policy-token-claim",
                f'Could not find "{_CLAIM}" claim in policy token',
                "The payload must be a JSON object with the policy's text in base64url.",
            )
        return _policy_text(encoded)

    def claims(self) -> dict[str, Any]:
        """The payload as an object. Raises `Malformed`: `policy-token-claim`, `policy-token-json`."""
        claims = load_json(self.payload, "policy-token", MAX_POLICY)
        if not isinstance(claims, dict):
            raise Malformed("policy-token-claim", "The policy token's payload is not a JSON object.")
        return claims

    def signer(self) -> dict[str, Any]:
        """`{kty, x5c}` of the signer, for tokens. Empty of an unsigned one."""
        return key_of(self.chain) if self.chain else {}


def policy_token(text: str) -> str:
    """The unsigned JWS of a policy: what is served where none was set."""
    return unsecured({}, canonical_json({_CLAIM: b64url(text.encode("utf-8"))}))


def key_of(chain: tuple[bytes, ...]) -> dict[str, Any]:
    """`{kty, x5c}` of a certificate chain (DER)."""
    kty = "RSA" if isinstance(_key(chain[0]), rsa.RSAPublicKey) else "EC"
    return {"kty": kty, "x5c": [base64.b64encode(one).decode("ascii") for one in chain]}


def certificate_of(claims: dict[str, Any], names: tuple[str, ...]) -> bytes:
    """The certificate (DER) to add or remove: in a JWK in the first of the claims that is there.

    Raises:
        Malformed: `policy-token-claim`, `policy-token-certificate`.
    """
    value = next((claims[name] for name in names if name in claims), None)
    if not isinstance(value, dict):
        raise Malformed("policy-token-claim", f'Could not find "{names[-1]}" claim in policy token')
    certificate = _certificates(value)[0]
    _key(certificate)
    return certificate


def _chain(header: Any) -> tuple[bytes, ...]:
    holder = header if "x5c" in header else header.get("jwk")
    if not isinstance(holder, dict) or "x5c" not in holder:
        raise Malformed(
            "policy-token-certificate",
            "The policy token is signed, but its header names no certificate (x5c).",
            "Put the signer's certificate into x5c of the header.",
        )
    return _certificates(holder)


def _certificates(holder: dict[str, Any]) -> tuple[bytes, ...]:
    listed = holder.get("x5c")
    fit = isinstance(listed, list) and 0 < len(listed) <= MAX_CERTIFICATES
    if not fit or not all(isinstance(one, str) and len(one) <= MAX_CERTIFICATE for one in listed or []):
        raise Malformed("policy-token-certificate", f"An x5c must be a list of 1 to {MAX_CERTIFICATES} certificates.")
    try:
        return tuple(base64.b64decode(one, validate=True) for one in listed or [])
    except (binascii.Error, ValueError):
        raise _bad_certificate() from None


def _key(certificate: bytes) -> PublicKey:
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except UNREADABLE:
        raise _bad_certificate() from None
    if isinstance(key, rsa.RSAPublicKey) and _MIN_RSA <= key.key_size <= _MAX_RSA:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ("secp256r1", "secp384r1"):
        return key
    raise Malformed("policy-token-key", "The certificate's key is neither RSA of 2048 bits or more, P-256 nor P-384.")


def _check(jws: Jws, key: PublicKey) -> str:
    """Verify by the kind of the key; signatures of elliptic curves are r and s, or DER."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(jws.signature, jws.signed, padding.PKCS1v15(), hashes.SHA256())
            return "RS256"
        size = key.key_size // 8
        digest: hashes.HashAlgorithm = hashes.SHA256() if size == hashes.SHA256.digest_size else hashes.SHA384()
        key.verify(_ecdsa(jws.signature, size), jws.signed, ec.ECDSA(digest))
    except InvalidSignature:
        raise Unverified("policy-token-signature", "The policy token's signature does not verify.") from None
    return "ES256" if size == hashes.SHA256.digest_size else "ES384"


def _ecdsa(signature: bytes, size: int) -> bytes:
    if len(signature) != 2 * size:
        return signature
    r, s = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
    return utils.encode_dss_signature(r, s)


def _policy_text(encoded: str) -> str:
    bare = encoded.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise Malformed("policy-token-claim", "The policy's text is not UTF-8 in base64url.") from None


def _bad_certificate() -> Malformed:
    return Malformed("policy-token-certificate", "A certificate of the policy token is not well-formed X.509.")
