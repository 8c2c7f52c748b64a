"""The keys that sign tokens: made and replaced by the service itself, kept encrypted under its root key.

A key is published before it signs, and stays published until the last token it signed has expired. Each instance has
keys of its own, so that nothing a simulated instance says can be taken for another's word.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from kloister.errors import KloisterError, Misconfigured
from kloister.formats.dcap.open_enclave import OID as EVIDENCE_OID
from kloister.formats.tokens import Algorithm, jwk_of
from kloister.formats.tokens.jose import PrivateKey, algorithm_of
from kloister.formats.wire import b64url_bytes, canonical_json
from kloister.services.broker.vault import Vault
from kloister.services.storage.attestation import AttestationTransaction
from kloister.services.storage.attestation_records import SigningKeyRecord

_RSA_BITS = 2048  # Azure's; clients expect RS256
_EXPONENT = 65537
_MAX_NAME = 64  # characters of a common name (RFC 5280, ub-common-name)
_AHEAD = 86400  # seconds that a key is published before it signs: longer than clients keep key sets
_CERTIFICATE_LIFE = timedelta(days=3650)  # checked by nobody; longer than any rotation
_SKEW = 300  # seconds
_PKCS1, _SHA256 = padding.PKCS1v15(), SHA256()
_ECDSA = {32: ec.ECDSA(SHA256()), 48: ec.ECDSA(SHA384())}  # by bytes of r


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs now, with the header that every token under it has."""

    kid: str
    key: PrivateKey = field(repr=False)
    certificate: bytes = field(repr=False)  # DER
    jku: str
    ends: int  # unix seconds
    _prefix: bytes = field(init=False, repr=False)  # the header of every token, encoded once, and the dot behind it
    _signature: Callable[[bytes], bytes] = field(init=False, repr=False)  # over such bytes

    def __post_init__(self) -> None:
        header = canonical_json({**self.header, "alg": str(algorithm_of(self.key))})
        object.__setattr__(self, "_prefix", b64url_bytes(header) + b".")
        object.__setattr__(self, "_signature", _signer(self.key))

    def sign(self, payload: bytes) -> str:
        """A signed token (RFC 7515, 7.1); ECDSA draws its own randomness, which is faster than to derive it."""
        signed = self._prefix + b64url_bytes(payload)
        return (signed + b"." + b64url_bytes(self._signature(signed))).decode("ascii")

    @property
    def header(self) -> dict[str, Any]:
        """Without `alg`, which follows from the key."""
        return {"jku": self.jku, "kid": self.kid, "typ": "JWT"}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """An instance's keys at one moment: which signs, and what is published."""

    current: SigningKey
    jwks: dict[str, Any]


class KeyKeeper:
    """Makes, replaces and opens the keys of instances.

    Args:
        vault: encrypts private keys.
        algorithm: of keys that are made from now on.
        rotation: seconds that a key signs.
        validity: seconds that a token is valid at most.
        evidence: what shows, for the digest of a new key, in which TEE it was made; None outside of one.
    """

    def __init__(
        self,
        vault: Vault,
        algorithm: Algorithm,
        rotation: int,
        validity: int,
        evidence: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._evidence = evidence
        self._vault = vault
        self._algorithm = algorithm
        self._rotation = rotation
        self._validity = validity
        self._opened: dict[tuple[str, str], PrivateKey] = {}

    def due(self, records: Sequence[SigningKeyRecord], now: int) -> bool:
        """Whether `keep` has something to do."""
        return self._next_begin(records, now) is not None or any(record.forgotten < now for record in records)

    def keep(
        self, transaction: AttestationTransaction, instance: str, now: int, draw: Callable[[int], bytes]
    ) -> list[str]:
        """Make the key that is needed now or soon, drop those that are not; the names of new keys."""
        records = transaction.signing_keys(instance)
        transaction.forget_signing_keys(instance, now)
        begins = self._next_begin(records, now)
        if begins is None:
            return []
        record = self._make(instance, begins, now, draw)
        transaction.add_signing_key(record)
        return [record.kid]

    def ring(self, records: Sequence[SigningKeyRecord], instance: str, now: int) -> KeyRing:
        """The keys as they are at `now`: of those that have begun, the latest signs.

        Raises:
            Misconfigured: `attestation-key-missing`, `attestation-key-damaged`.
        """
        begun = [record for record in records if record.begins <= now <= record.ends]
        if not begun:
            raise Misconfigured("attestation-key-missing", "There is no key that signs now.", "Restart the service.")
        record = begun[-1]
        current = SigningKey(
            record.kid, self._open(record), record.certificate, f"{instance}/certs", record.ends
        )  # fmt: skip
        published = [record, *(other for other in records if other is not record and other.forgotten >= now)]
        return KeyRing(current, {"keys": [_jwk(each) for each in published]})

    def _next_begin(self, records: Sequence[SigningKeyRecord], now: int) -> int | None:
        """When a key must begin that is not there yet; a changed algorithm wants one at once."""
        fitting = [record for record in records if record.algorithm == self._algorithm]
        last = max((record.ends for record in fitting), default=0)
        if last <= now:
            return now
        return last if last - now < _AHEAD else None

    def _make(self, instance: str, begins: int, now: int, draw: Callable[[int], bytes]) -> SigningKeyRecord:
        key = _new_key(self._algorithm)
        kid, evidence = kid_of(key.public_key()), None
        if self._evidence is not None:
            evidence = self._evidence(key_digest(key.public_key()))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        wrapped, ciphertext = self._vault.lock(pem, (instance, kid))
        ends = begins + self._rotation
        return SigningKeyRecord(
            instance=instance,
            kid=kid,
            algorithm=str(self._algorithm),
            wrapped=wrapped,
            ciphertext=ciphertext,
            certificate=_certificate(instance, key, now, draw(16), evidence),
            begins=begins,
            ends=ends,
            forgotten=ends + self._validity,
        )

    def _open(self, record: SigningKeyRecord) -> PrivateKey:
        name = (record.instance, record.kid)
        if name not in self._opened:
            try:
                pem = self._vault.unlock(record.wrapped, record.ciphertext, name)
                self._opened[name] = cast("PrivateKey", load_pem_private_key(pem, None))
            except (KloisterError, ValueError):
                raise Misconfigured(
                    "attestation-key-damaged",
                    f"A signing key of {record.instance} cannot be decrypted with this root key.",
                    "Restore the database and the root key together, from the same moment.",
                ) from None
        return self._opened[name]


def kid_of(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    """Base64 of SHA-256 of the key's PEM and one NUL byte, as Azure names its keys."""
    return base64.b64encode(key_digest(key)).decode("ascii")


def key_digest(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """The 32 bytes of `kid_of`; evidence of the service's own TEE has them as report data."""
    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) + b"\0").digest()


def _signer(key: PrivateKey) -> Callable[[bytes], bytes]:
    """What signs with the key as RFC 7518 has it: 3.3 for RSA, 3.4 for ECDSA."""
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda data: key.sign(data, _PKCS1, _SHA256)
    size = key.key_size // 8
    algorithm = _ECDSA[size]

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, algorithm))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def _new_key(algorithm: Algorithm) -> PrivateKey:
    if algorithm is Algorithm.RS256:
        return rsa.generate_private_key(_EXPONENT, _RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1() if algorithm is Algorithm.ES256 else ec.SECP384R1())


def _certificate(instance: str, key: PrivateKey, now: int, serial: bytes, evidence: bytes | None) -> bytes:
    """Self-signed, with the base URL as its name; nobody is asked to trust it but by where it was fetched."""
    url = instance.partition("#")[0]  # see InstanceSettings.signer
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, url[:_MAX_NAME])])
    start = datetime.fromtimestamp(now - _SKEW, UTC)
    builder = x509.CertificateBuilder(
        subject_name=name,
        issuer_name=name,
        public_key=key.public_key(),
        serial_number=int.from_bytes(serial, "big") >> 1 or 1,
        not_valid_before=start,
        not_valid_after=start + _CERTIFICATE_LIFE,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if evidence is not None:
        oid = x509.ObjectIdentifier(EVIDENCE_OID)
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, evidence), critical=False)
    p384 = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256  # noqa: PLR2004  bits of P-256
    return builder.sign(key, SHA384() if p384 else SHA256()).public_bytes(Encoding.DER)


def _jwk(record: SigningKeyRecord) -> dict[str, Any]:
    key = x509.load_der_x509_certificate(record.certificate).public_key()
    return jwk_of(cast("rsa.RSAPublicKey", key), record.kid, [record.certificate])
