"""The release exchange (architecture.md 10): messages, what binds them together, and the sealing of the secrets.

Pure: keys and randomness are arguments, so that guest and broker compute the same bytes from the same facts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kloister.errors import Malformed, Unverified
from kloister.formats.protocol.bundle import MAX_BUNDLE, Bundle, SecretFile
from kloister.formats.protocol.members import exactly, instance_name, name, octets, text
from kloister.formats.wire import b64url, canonical_json, length_prefixed, load_json

__all__ = [
    "CHALLENGE_PATH",
    "MAX_REQUEST",
    "MAX_RESPONSE",
    "NONCE_SECONDS",
    "NONCE_SIZE",
    "RELEASE_PATH",
    "Binding",
    "Bundle",
    "Challenge",
    "ChallengeRequest",
    "Refusal",
    "ReleaseRequest",
    "Sealed",
    "SecretFile",
    "open_sealed",
    "public_key",
    "seal",
]

CHALLENGE_PATH = "/release/v1/challenge"
RELEASE_PATH = "/release/v1/release"
NONCE_SIZE = 32
NONCE_SECONDS = 120
MAX_REQUEST = 128 << 10  # bytes of a request: a quote v3 has 5 KB
MAX_RESPONSE = 2 * MAX_BUNDLE  # bytes of a response: base64url of the bundle and the rest
_MAX_QUOTE = 64 << 10  # bytes
_MAX_SENTENCE = 4096  # bytes of a refusal's text or hint
_MAX_UNIX = 1 << 40  # seconds; far behind every date that matters
_DOMAIN = b"kloister/release/v1"
_ZERO_NONCE = bytes(12)  # AES-GCM, 96 bits; the key is fresh for each exchange and used once


@dataclass(frozen=True, slots=True)
class ChallengeRequest:
    """The guest asks for a nonce on behalf of a policy."""

    namespace: str
    policy: str

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the JSON body; raises `Malformed` (`challenge-request-*`)."""
        what = "challenge-request"
        item = exactly(load_json(data, what, MAX_REQUEST), what, namespace=str, policy=str)
        return cls(name(item["namespace"], what), name(item["policy"], what))

    def build(self) -> bytes:
        """The canonical JSON body."""
        return canonical_json({"namespace": self.namespace, "policy": self.policy})


@dataclass(frozen=True, slots=True)
class Challenge:
    """The broker's nonce (32 bytes) and when it expires (unix seconds)."""

    nonce: bytes
    expires: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the JSON body; raises `Malformed` (`challenge-*`)."""
        item = exactly(load_json(data, "challenge", MAX_REQUEST), "challenge", nonce=str, expires=int)
        if not 0 <= item["expires"] <= _MAX_UNIX:
            raise Malformed("challenge-expires", "The challenge's expiry is not a time.")
        return cls(octets(item["nonce"], "challenge-nonce", NONCE_SIZE), item["expires"])

    def build(self) -> bytes:
        """The canonical JSON body."""
        return canonical_json({"nonce": b64url(self.nonce), "expires": self.expires})


@dataclass(frozen=True, slots=True)
class Binding:
    """The facts that an exchange is about; report data and transcript are computed from them and nothing else.

    Attributes:
        nonce: 32 bytes, the broker's.
        key: 32 bytes, the guest's X25519 public key, fresh.
        broker_key: 32 bytes, SHA-256 of the broker's TLS SubjectPublicKeyInfo as each side knows it by itself.
        namespace, policy, service, instance: whose secrets are asked for.
    """

    nonce: bytes
    key: bytes
    broker_key: bytes
    namespace: str
    policy: str
    service: str
    instance: str

    def _parts(self) -> list[bytes]:
        names = (self.namespace, self.policy, self.service, self.instance)
        return [self.nonce, self.key, self.broker_key, *(item.encode("utf-8") for item in names)]

    def report_data(self) -> bytes:
        """The 64 bytes that the guest's quote must carry: SHA-512 under this protocol's own prefix."""
        return hashlib.sha512(_DOMAIN + length_prefixed(self._parts())).digest()

    def transcript(self, quote: bytes, ephemeral: bytes) -> bytes:
        """32 bytes over everything both sides saw: salt of the key derivation and associated data of the secrets."""
        parts = [*self._parts(), quote, ephemeral]
        return hashlib.sha256(_DOMAIN + b"/transcript" + length_prefixed(parts)).digest()


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """The guest shows its quote and asks for the secrets."""

    nonce: bytes
    namespace: str
    policy: str
    service: str
    instance: str
    key: bytes
    quote: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the JSON body; raises `Malformed` (`release-request-*`)."""
        what = "release-request"
        names = ("nonce", "namespace", "policy", "service", "instance", "key", "quote")
        item = exactly(load_json(data, what, MAX_REQUEST), what, **dict.fromkeys(names, str))
        return cls(
            nonce=octets(item["nonce"], f"{what}-nonce", NONCE_SIZE),
            namespace=name(item["namespace"], what),
            policy=name(item["policy"], what),
            service=name(item["service"], what),
            instance=instance_name(item["instance"], what),
            key=octets(item["key"], f"{what}-key", 32),
            quote=octets(item["quote"], f"{what}-quote", limit=_MAX_QUOTE),
        )

    def build(self) -> bytes:
        """The canonical JSON body."""
        return canonical_json(
            {
                "nonce": b64url(self.nonce),
                "namespace": self.namespace,
                "policy": self.policy,
                "service": self.service,
                "instance": self.instance,
                "key": b64url(self.key),
                "quote": b64url(self.quote),
            }
        )

    def binding(self, broker_key: bytes) -> Binding:
        """What this request is about, as seen by the holder of `broker_key` (32 bytes)."""
        return Binding(self.nonce, self.key, broker_key, self.namespace, self.policy, self.service, self.instance)


@dataclass(frozen=True, slots=True)
class Sealed:
    """The bundle, readable by the holder of the guest's key only: X25519 public key (32 bytes) and ciphertext."""

    ephemeral: bytes
    ciphertext: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the JSON body; raises `Malformed` (`sealed-*`)."""
        item = exactly(load_json(data, "sealed", MAX_RESPONSE), "sealed", ephemeral=str, ciphertext=str)
        return cls(octets(item["ephemeral"], "sealed-ephemeral", 32), octets(item["ciphertext"], "sealed-ciphertext"))

    def build(self) -> bytes:
        """The canonical JSON body."""
        return canonical_json({"ephemeral": b64url(self.ephemeral), "ciphertext": b64url(self.ciphertext)})


@dataclass(frozen=True, slots=True)
class Refusal:
    """The broker's no: an id for `kloister explain`, a code, and a sentence that tells the guest nothing more."""

    id: str
    code: str
    text: str
    hint: str

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the JSON body; raises `Malformed` (`refusal-*`)."""
        outer = exactly(load_json(data, "refusal", MAX_REQUEST), "refusal", error=dict)
        item = exactly(outer["error"], "refusal", id=str, code=str, text=str, hint=str)
        return cls(
            id=instance_name(item["id"], "refusal-id"),
            code=name(item["code"], "refusal-code"),
            text=text(item["text"], "refusal-text", _MAX_SENTENCE),
            hint=text(item["hint"], "refusal-hint", _MAX_SENTENCE),
        )

    def build(self) -> bytes:
        """The canonical JSON body."""
        return canonical_json({"error": {"id": self.id, "code": self.code, "text": self.text, "hint": self.hint}})


def public_key(private: bytes) -> bytes:
    """The X25519 public key (32 bytes) of 32 random bytes (RFC 7748, section 5)."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def seal(bundle: Bundle, binding: Binding, quote: bytes, ephemeral_private: bytes) -> Sealed:
    """Encrypt `bundle` to the guest's key; `ephemeral_private` is 32 fresh random bytes, used once.

    Raises:
        Unverified: `release-key`, the guest's key is a point of small order.
    """
    ephemeral = public_key(ephemeral_private)
    transcript = binding.transcript(quote, ephemeral)
    cipher = AESGCM(_secret_key(ephemeral_private, binding.key, transcript))
    return Sealed(ephemeral, cipher.encrypt(_ZERO_NONCE, bundle.build(), transcript))


def open_sealed(sealed: Sealed, binding: Binding, quote: bytes, private: bytes) -> Bundle:
    """Decrypt with the guest's private key (32 bytes).

    Raises:
        Unverified: `release-sealed`, the message is not for this exchange; `release-key`, a point of small order.
        Malformed: `bundle-*`, the plaintext does not follow the format.
    """
    transcript = binding.transcript(quote, sealed.ephemeral)
    cipher = AESGCM(_secret_key(private, sealed.ephemeral, transcript))
    try:
        plaintext = cipher.decrypt(_ZERO_NONCE, sealed.ciphertext, transcript)
    except InvalidTag:
        raise Unverified(
            "release-sealed",
            "The released secrets were not sealed for this exchange.",
            "Something between workload and broker alters messages; look at what the connection passes through.",
        ) from None
    return Bundle.parse(plaintext)


def _secret_key(private: bytes, peer: bytes, transcript: bytes) -> bytes:
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:  # the all-zero result of a small-order point (RFC 7748, section 6.1)
        raise Unverified("release-key", "The other side's X25519 key is not a usable one.") from None
    return HKDF(SHA256(), 32, transcript, _DOMAIN + b"/secrets").derive(shared)
