"""Certificate revocation lists (RFC 5280, section 5)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import SignatureAlgorithmOID

from kloister.errors import Malformed
from kloister.formats.pki import der
from kloister.formats.pki.signature import check_signature
from kloister.formats.pki.unreadable import UNREADABLE

MAX_SIZE = 4 * 1024 * 1024  # bytes; Intel's largest has some kilobytes
_PEM = re.compile(rb"\s*-----BEGIN X509 CRL-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END X509 CRL-----\s*")
_SEQUENCE = b"\x30"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crl:
    """A revocation list, read completely; its signature not verified. `issuer` is the exact DER of the name."""

    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    issuer: bytes
    this_update: datetime
    next_update: datetime
    _raw: x509.CertificateRevocationList = field(repr=False)
    _serials: list[frozenset[int]] = field(default_factory=list, init=False, repr=False, compare=False)
    _asked: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def revoked(self) -> frozenset[int]:
        """The serial numbers listed."""
        if not self._serials:
            self._serials.append(frozenset(entry.serial_number for entry in self._raw))
        return self._serials[0]

    def revokes(self, serial: int) -> bool:
        """Whether this serial number is listed. A list that is asked once is searched; then it is worth a set."""
        if self._asked:
            return serial in self.revoked
        self._asked.append(True)
        return self._raw.get_revoked_certificate_by_serial_number(serial) is not None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read DER, hexadecimal of DER, or PEM: collateral services hand out all three.

        Raises:
            Malformed: `crl-size`, `crl-syntax`, `crl-algorithm`, `crl-extension`.
        """
        if len(data) > MAX_SIZE:
            raise Malformed("crl-size", f"A revocation list of {len(data)} bytes; at most {MAX_SIZE} are read.")
        try:
            encoded = der_of(data)
            return cls._read(x509.load_der_x509_crl(encoded), encoded)
        except UNREADABLE:
            raise Malformed("crl-syntax", "A revocation list is not well-formed DER, hexadecimal or PEM.") from None

    @classmethod
    def _read(cls, raw: x509.CertificateRevocationList, data: bytes) -> Self:
        if raw.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
            raise Malformed("crl-algorithm", "A revocation list is not signed with ECDSA and SHA-256.")
        if any(extension.critical for extension in raw.extensions):
            # deltas and scopes (issuing distribution point) change what absence from the list means
            raise Malformed("crl-extension", "A revocation list has a critical extension, which is not understood.")
        this_update, next_update = raw.last_update_utc, raw.next_update_utc
        if next_update is None:
            raise Malformed("crl-syntax", "A revocation list does not say when the next one is due.")
        if not der.ends_with_bits(data, raw.signature):
            raise Malformed("crl-syntax", "A revocation list has a signature that is not whole bytes.")
        tbs, issuer = _slices(data)
        return cls(
            tbs=tbs,
            signature=raw.signature,
            issuer=issuer,
            this_update=this_update,
            next_update=next_update,
            _raw=raw,
        )

    def check_signed_by(self, key: ec.EllipticCurvePublicKey, code: str, what: str) -> None:
        """Return if `key` signed this list; `Unverified` with `code` otherwise."""
        check_signature(key, self.signature, self.tbs, code, what)


def _slices(data: bytes) -> tuple[bytes, bytes]:
    """The signed part and the issuer, of a list that cryptography has read: encoding them again would cost more."""
    start, _ = der.content(data, 0, "crl")
    at, end = der.content(data, start, "crl")
    tbs = data[start:end]
    if data[at] == der.INTEGER:  # the version, which version 1 leaves out
        at = der.content(data, at, "crl")[1]
    at = der.content(data, at, "crl")[1]  # the algorithm
    return tbs, data[at : der.content(data, at, "crl")[1]]


def der_of(data: bytes) -> bytes:
    """DER of a list given as DER, hexadecimal or PEM; bytes that are none of them come back as they are.

    Raises:
        ValueError: base64 of the PEM is damaged; `Crl.parse` would say `crl-syntax`.
    """
    if data.startswith(_SEQUENCE):  # the digit 0 in ASCII, with which no list begins that is hexadecimal
        return data
    pem = _PEM.fullmatch(data)
    if pem:
        return base64.b64decode(b"".join(pem[1].split()), validate=True)
    try:
        return binascii.unhexlify(data.strip())
    except binascii.Error:
        return data
