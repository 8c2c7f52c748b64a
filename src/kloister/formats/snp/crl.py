"""AMD's revocation lists (`/vcek/v1/<P>/crl` of the KDS; RFC 5280, section 5), signed by the ARK."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from kloister.errors import Malformed
from kloister.formats.pki import der
from kloister.formats.pki.unreadable import UNREADABLE
from kloister.formats.snp.signature import check_pss, is_pss_sha384

MAX_SIZE = 1024 * 1024  # bytes; AMD's have some kilobytes
_WHAT = "amd-crl"
_PEM = re.compile(rb"\s*-----BEGIN X509 CRL-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END X509 CRL-----\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdCrl:
    """A revocation list, read completely; its signature not verified. `issuer` is the exact DER of the name."""

    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    issuer: bytes
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int] = field(repr=False)  # serial numbers

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read DER or PEM.

        Raises:
            Malformed: `amd-crl-size`, `amd-crl-syntax`, `amd-crl-algorithm`, `amd-crl-extension`.
        """
        if len(data) > MAX_SIZE:
            raise Malformed("amd-crl-size", f"A revocation list of {len(data)} bytes; at most {MAX_SIZE} are read.")
        try:
            pem = _PEM.fullmatch(data)
            raw = base64.b64decode(b"".join(pem[1].split()), validate=True) if pem else data
            return cls._read(x509.load_der_x509_crl(raw), raw)
        except UNREADABLE:
            raise Malformed("amd-crl-syntax", "The revocation list is neither well-formed DER nor PEM.") from None

    @classmethod
    def _read(cls, raw: x509.CertificateRevocationList, data: bytes) -> Self:
        parts = der.split(der.single(data, der.SEQUENCE, _WHAT), _WHAT)
        if not is_pss_sha384(der.expect(parts[1], der.SEQUENCE, _WHAT)):
            raise Malformed("amd-crl-algorithm", "The revocation list is not signed with RSA-PSS and SHA-384.")
        if any(extension.critical for extension in raw.extensions):
            # deltas and scopes (issuing distribution point) change what absence from the list means
            raise Malformed("amd-crl-extension", "The revocation list has a critical extension, not understood.")
        this_update, next_update = raw.last_update_utc, raw.next_update_utc
        if next_update is None:
            raise Malformed("amd-crl-syntax", "The revocation list does not say when the next one is due.")
        return cls(
            tbs=raw.tbs_certlist_bytes,
            signature=raw.signature,
            issuer=raw.issuer.public_bytes(),
            this_update=this_update,
            next_update=next_update,
            revoked=frozenset(entry.serial_number for entry in raw),
        )

    def check_signed_by(self, key: rsa.RSAPublicKey, code: str) -> None:
        """Return if `key` signed this list; `Unverified` with `code` otherwise."""
        check_pss(key, self.signature, self.tbs, code, "the revocation list")
