from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One version of a policy; `document` is its canonical JSON, `applied` unix seconds."""

    namespace: str
    name: str
    version: int
    sha256: str
    document: bytes
    applied: int


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """One version of a secret, encrypted.

    Attributes:
        id: random, so that the name need not stand wherever the value is meant.
        recipe: the specification that the value was made by, canonical JSON; another recipe means another value.
        wrapped: the record's own key, encrypted under the broker's root key.
        ciphertext: the value, encrypted under the record's own key.
        public: the part that everybody may see (a certificate, PEM); empty for other kinds.
        origin: `generated` or `uploaded`.
        created: unix seconds.
        expires: unix seconds, 0 where it does not end.
    """

    id: str
    namespace: str
    policy: str
    name: str
    version: int
    kind: str
    recipe: str
    wrapped: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    public: str
    origin: str
    created: int
    expires: int


@dataclass(frozen=True, slots=True)
class ChallengeRecord:
    """A nonce that was given out: to whom, for which policy, until when (unix seconds)."""

    nonce: bytes = field(repr=False)
    peer: str
    namespace: str
    policy: str
    expires: int


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """A refusal with its whole reason, `detail` as canonical JSON; `at` unix seconds."""

    id: str
    at: int
    code: str
    detail: bytes


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One entry of the audit chain: `hash` (32 bytes) is over `body` (canonical JSON that names the hash before)."""

    sequence: int
    body: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of the chain, authenticated: without it the newest entries could vanish unnoticed."""

    sequence: int
    hash: bytes
    mac: bytes
