"""The evidence in an RA-TLS certificate's extension: Gramine's legacy one, and that of TCG DICE.

Sources: Gramine `tools/sgx/ra-tls`; TCG "DICE Attestation Architecture" 1.1, section 6.1.2 (tagged evidence); the CCC
"Interoperable RA-TLS" draft, section 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from kloister.errors import Malformed
from kloister.formats.ratls import cbor

DICE_OID = "2.23.133.5.4.9"  # tcg-dice-tagged-evidence
LEGACY_OIDS = ("0.6.9.42.840.113741.1337.6", "1.2.840.113741.1337.6")  # Gramine's, and the one that was meant
EVIDENCE_TAG = 60000  # CBOR tag of [quote, claims]
REPORT_DATA = 64  # bytes; the hash stands first, zeros follow
PUBKEY_HASH, NONCE = "pubkey-hash", "nonce"
SHA256 = 1  # identifiers of hashes, IANA "Named Information Hash Algorithm Registry"
HASHES = {SHA256: "sha256", 7: "sha384", 8: "sha512"}
_PARTS = 2  # in [quote, claims] and in [hash, digest]


class Form(StrEnum):
    """How the evidence stands in the certificate."""

    LEGACY = "legacy"
    DICE = "dice"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatlsEvidence:
    """A quote, and what ties it to the certificate's key; nothing about it has been verified."""

    form: Form
    quote: bytes = field(repr=False)
    claims: bytes = field(default=b"", repr=False)  # DICE: CBOR, exactly as hashed into the quote
    key_hash: int = SHA256  # of `key_digest`
    key_digest: bytes = b""  # DICE: the claimed hash of the SubjectPublicKeyInfo
    nonce: bytes | None = None

    @classmethod
    def find(cls, extensions: Mapping[str, bytes]) -> Self | None:
        """The evidence among a certificate's extensions, None if there is none; the legacy one only without the other.

        Raises:
            Malformed: `ratls-cbor`, `ratls-evidence`.
        """
        if DICE_OID in extensions:
            return cls._dice(extensions[DICE_OID])
        for oid in LEGACY_OIDS:
            if oid in extensions:
                return cls(form=Form.LEGACY, quote=extensions[oid])
        return None

    @classmethod
    def of(cls, quote: bytes, claims: bytes) -> Self:
        """DICE evidence of a quote and the claims that it binds. Raises `Malformed`, as `find`."""
        members = cbor.decode(claims)
        if not isinstance(members, dict) or not set(members) <= {PUBKEY_HASH, NONCE}:
            raise _malformed("claims other than pubkey-hash and nonce")
        hashed, nonce = members.get(PUBKEY_HASH), members.get(NONCE)
        pair = cbor.decode(hashed) if isinstance(hashed, bytes) else None
        if not isinstance(pair, list) or len(pair) != _PARTS:
            raise _malformed("no pubkey-hash of algorithm and digest")
        algorithm, digest = pair
        if not isinstance(algorithm, int) or algorithm not in HASHES or not isinstance(digest, bytes):
            raise _malformed("a pubkey-hash of another algorithm than SHA-256, SHA-384 or SHA-512")
        if nonce is not None and not isinstance(nonce, bytes):
            raise _malformed("a nonce that is no byte string")
        return cls(form=Form.DICE, quote=quote, claims=claims, key_hash=algorithm, key_digest=digest, nonce=nonce)

    @classmethod
    def _dice(cls, content: bytes) -> Self:
        tagged = cbor.decode(content)
        if not isinstance(tagged, cbor.Tagged) or tagged.tag != EVIDENCE_TAG:
            raise _malformed(f"another tag than {EVIDENCE_TAG}, which quotes have")
        parts = tagged.item
        if not isinstance(parts, list) or len(parts) != _PARTS:
            raise _malformed("no array of quote and claims")
        quote, claims = parts
        if not isinstance(quote, bytes) or not isinstance(claims, bytes):
            raise _malformed("a quote or claims that are no byte string")
        return cls.of(quote, claims)

    @property
    def oid(self) -> str:
        """The extension in which `build` belongs."""
        return DICE_OID if self.form is Form.DICE else LEGACY_OIDS[0]

    def build(self) -> bytes:
        """The extension's content."""
        if self.form is Form.LEGACY:
            return self.quote
        return cbor.encode(cbor.Tagged(EVIDENCE_TAG, [self.quote, self.claims]))

    def binds_key(self, spki: bytes) -> bool:
        """Whether the claims name this key (SubjectPublicKeyInfo, DER); the legacy form has none, so it does."""
        return self.form is Form.LEGACY or hashlib.new(HASHES[self.key_hash], spki).digest() == self.key_digest

    def report_data(self, spki: bytes) -> bytes:
        """What the quote must carry: the hash of the claims, in the legacy form that of the key; 64 bytes."""
        bound = spki if self.form is Form.LEGACY else self.claims
        return hashlib.sha256(bound).digest().ljust(REPORT_DATA, b"\0")


def claims_for(spki: bytes, nonce: bytes | None = None) -> bytes:
    """The claims that tie a quote to a key, SHA-256; their hash goes into the report data."""
    hashed = cbor.encode([SHA256, hashlib.sha256(spki).digest()])
    claims: dict[str, cbor.Item] = {PUBKEY_HASH: hashed}
    if nonce is not None:
        claims[NONCE] = nonce
    return cbor.encode(claims)


def _malformed(what: str) -> Malformed:
    return Malformed("ratls-evidence", f"The evidence in the certificate has {what}.")
