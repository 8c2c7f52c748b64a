"""The evidence in a certificate's extension: RA-TLS as Gramine began it, that of TCG DICE, and Azure's.

Azure's attestation service has the certificate of the key that signs its tokens speak of the service's own enclave.
Sources: Gramine `tools/sgx/ra-tls`; TCG "DICE Attestation Architecture" 1.1, section 6.1.2 (tagged evidence); the CCC
"Interoperable RA-TLS" draft, section 5.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from kloister.errors import Malformed
from kloister.formats.dcap import open_enclave
from kloister.formats.ratls import cbor

DICE_OID = "2.23.133.5.4.9"  # tcg-dice-tagged-evidence
LEGACY_OIDS = ("0.6.9.42.840.113741.1337.6", "1.2.840.113741.1337.6")  # Gramine's, and the one that was meant
EVIDENCE_TAG = 60000  # CBOR tag of [quote, claims]
REPORT_DATA = 64  # bytes; the hash stands first, zeros follow
PUBKEY_HASH, NONCE = "pubkey-hash", "nonce"
SHA256 = 1  # identifiers of hashes, IANA "Named Information Hash Algorithm Registry"
HASHES = {SHA256: "sha256", 7: "sha384", 8: "sha512"}
_LINE = 64  # characters (RFC 7468, section 2)
_PARTS = 2  # in [quote, claims] and in [hash, digest]


class Form(StrEnum):
    """How the evidence stands in the certificate."""

    LEGACY = "legacy"
    DICE = "dice"
    OPEN_ENCLAVE = "open-enclave"  # Azure's


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
        """The evidence among a certificate's extensions, None if there is none; older ones only without the standard's.

        Raises:
            Malformed: `ratls-cbor`, `ratls-evidence`, `oe-report-header`.
        """
        if DICE_OID in extensions:
            return cls._dice(extensions[DICE_OID])
        for oid in LEGACY_OIDS:
            if oid in extensions:
                return cls(form=Form.LEGACY, quote=extensions[oid])
        if open_enclave.OID in extensions:
            return cls(form=Form.OPEN_ENCLAVE, quote=open_enclave.quote_of(extensions[open_enclave.OID]))
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
        return _OIDS[self.form]

    def build(self) -> bytes:
        """The extension's content."""
        if self.form is Form.LEGACY:
            return self.quote
        if self.form is Form.OPEN_ENCLAVE:
            return open_enclave.build_report(self.quote)
        return cbor.encode(cbor.Tagged(EVIDENCE_TAG, [self.quote, self.claims]))

    def binds_key(self, spki: bytes) -> bool:
        """Whether the claims name this key (SubjectPublicKeyInfo, DER); only DICE has claims that could be wrong."""
        return self.form is not Form.DICE or hashlib.new(HASHES[self.key_hash], spki).digest() == self.key_digest

    def report_data(self, spki: bytes) -> bytes:
        """What the quote must carry: the hash of the claims or, where there are none, of the key; 64 bytes."""
        bound = {Form.LEGACY: spki, Form.DICE: self.claims, Form.OPEN_ENCLAVE: _as_text(spki)}[self.form]
        return hashlib.sha256(bound).digest().ljust(REPORT_DATA, b"\0")


_OIDS = {Form.LEGACY: LEGACY_OIDS[0], Form.DICE: DICE_OID, Form.OPEN_ENCLAVE: open_enclave.OID}


def _as_text(spki: bytes) -> bytes:
    """The key in PEM, with the NUL byte that ends a string in C: so Azure hashes it."""
    text = base64.b64encode(spki)
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return b"\n".join([b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b"\0"])


def claims_for(spki: bytes, nonce: bytes | None = None) -> bytes:
    """The claims that tie a quote to a key, SHA-256; their hash goes into the report data."""
    hashed = cbor.encode([SHA256, hashlib.sha256(spki).digest()])
    claims: dict[str, cbor.Item] = {PUBKEY_HASH: hashed}
    if nonce is not None:
        claims[NONCE] = nonce
    return cbor.encode(claims)


def _malformed(what: str) -> Malformed:
    return Malformed("ratls-evidence", f"The evidence in the certificate has {what}.")
