"""What the attestation service keeps; an instance is named by its base URL. Times are unix seconds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class InstancePolicy:
    """One version of an instance's policy for one attestation type; `token` is the JWS as sent, empty after a reset."""

    instance: str
    kind: str
    version: int
    token: str = field(repr=False)
    sha256: str
    issued: int  # `iat` of a signed policy, 0 where it has none
    applied: int


@dataclass(frozen=True, slots=True)
class ManagementCertificate:
    """A certificate (DER) whose holder may change an isolated instance's policies."""

    instance: str
    sha256: str
    certificate: bytes = field(repr=False)
    added: int


@dataclass(frozen=True, slots=True)
class SigningKeyRecord:
    """A key that signs an instance's tokens.

    Attributes:
        wrapped: the record's own key, encrypted under the root key.
        ciphertext: the private key (PKCS #8, PEM), encrypted under the record's own key.
        certificate: DER.
        begins: from when on it signs; it is published before.
        ends: until when it signs.
        forgotten: when the last token it signed has expired, and it is no longer published.
    """

    instance: str
    kid: str
    algorithm: str
    wrapped: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    begins: int
    ends: int
    forgotten: int
