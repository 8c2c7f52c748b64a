from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kloister.errors import Malformed, Unverified
from kloister.formats.pki.unreadable import UNREADABLE
from kloister.formats.ratls.evidence import RatlsEvidence

MAX_SIZE = 64 * 1024  # bytes of a certificate with two quotes in it; Gramine's have some 10 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class RatlsCertificate:
    """A certificate whose key evidence speaks of; nothing about it has been verified."""

    der: bytes = field(repr=False)
    spki: bytes = field(repr=False)  # SubjectPublicKeyInfo, DER
    subject: str  # RFC 4514
    self_issued: bool
    not_before: datetime
    not_after: datetime
    evidence: RatlsEvidence

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one certificate, DER or PEM.

        Raises:
            Malformed: `ratls-size`, `ratls-certificate`, `ratls-no-evidence`, `ratls-evidence`, `ratls-cbor`,
                `oe-report-header`.
        """
        if len(data) > MAX_SIZE:
            raise Malformed("ratls-size", f"A certificate of {len(data)} bytes; at most {MAX_SIZE} are read.")
        try:
            raw = _load(data)
            extensions = {
                each.oid.dotted_string: each.value.value
                for each in raw.extensions
                if isinstance(each.value, x509.UnrecognizedExtension)
            }
            spki = raw.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            der, subject = raw.public_bytes(serialization.Encoding.DER), raw.subject.rfc4514_string()
            self_issued = raw.issuer == raw.subject
            not_before, not_after = raw.not_valid_before_utc, raw.not_valid_after_utc
        except UNREADABLE:
            raise Malformed("ratls-certificate", "The certificate is not well-formed X.509.") from None
        evidence = RatlsEvidence.find(extensions)
        if evidence is None:
            raise Malformed(
                "ratls-no-evidence",
                f"The certificate of {subject or 'nobody'} carries no evidence.",
                "An RA-TLS certificate has the extension 2.23.133.5.4.9 or 0.6.9.42.840.113741.1337.6.",
            )
        return cls(
            der=der,
            spki=spki,
            subject=subject,
            self_issued=self_issued,
            not_before=not_before,
            not_after=not_after,
            evidence=evidence,
        )

    def check_signature(self) -> None:
        """Return if the attested key signed the certificate, or another issuer did, which RA-TLS does not judge.

        Raises:
            Unverified: `ratls-signature`.
            Malformed: `ratls-certificate`.
        """
        if not self.self_issued:
            return
        try:
            raw = x509.load_der_x509_certificate(self.der)
            raw.verify_directly_issued_by(raw)
        except InvalidSignature:
            raise Unverified("ratls-signature", "The certificate was not signed with the key that it names.") from None
        except UNREADABLE:
            raise Malformed("ratls-certificate", "The certificate is signed in a way that is not known.") from None


def build_certificate(
    key: ec.EllipticCurvePrivateKey,
    evidence: RatlsEvidence,
    *,
    not_before: datetime,
    not_after: datetime,
    common_name: str = "RATLS",
) -> bytes:
    """A self-signed certificate of the key (P-256 or P-384) with the evidence in its extension, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(evidence.oid), evidence.build())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(extension, critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.DER)


def _load(data: bytes) -> x509.Certificate:
    """PEM is told by its start: a quote in the certificate holds PEM of its own."""
    pem = data.lstrip().startswith(b"-----BEGIN")
    return x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
