"""X.509 certificates (RFC 5280) as far as evidence uses them: P-256, SHA-256, a handful of extensions."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Self, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from kloister.errors import Malformed
from kloister.formats.pki.signature import check_signature
from kloister.formats.pki.unreadable import UNREADABLE

MAX_SIZE = 16 * 1024  # bytes of one certificate; a PCK certificate has about 1300
MAX_CHAIN = 8  # certificates in one PEM text; Intel's chains have three
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----")
_BETWEEN = b" \t\r\n\0"  # the chain in a quote is often NUL-terminated (DCAP, certification data 5)
Value = TypeVar("Value", bound=x509.ExtensionType)
_KNOWN_CRITICAL = {
    x509.BasicConstraints.oid,
    x509.KeyUsage.oid,
    x509.SubjectKeyIdentifier.oid,
    x509.AuthorityKeyIdentifier.oid,
    x509.CRLDistributionPoints.oid,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate, read completely; nothing about it has been verified.

    Names are the exact DER bytes, so that comparing them needs no rules. `extensions` maps dotted object identifiers of
    extensions that X.509 itself does not define to their contents.
    """

    der: bytes
    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    subject: bytes
    issuer: bytes
    common_name: str
    serial: int
    not_before: datetime
    not_after: datetime
    public_key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)
    spki: bytes
    is_ca: bool
    path_length: int | None
    may_sign_data: bool
    may_sign_certificates: bool
    may_sign_crls: bool
    extensions: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, der: bytes) -> Self:
        """Read DER.

        Raises:
            Malformed: `certificate-size`, `certificate-syntax`, `certificate-algorithm`, `certificate-extension`.
        """
        if len(der) > MAX_SIZE:
            raise Malformed("certificate-size", f"A certificate of {len(der)} bytes; at most {MAX_SIZE} are read.")
        try:
            return cls._read(x509.load_der_x509_certificate(der), der)
        except UNREADABLE:
            raise Malformed("certificate-syntax", "A certificate is not well-formed X.509.") from None

    @classmethod
    def _read(cls, raw: x509.Certificate, der: bytes) -> Self:
        key = _p256(raw)
        basic = _extension(raw, x509.BasicConstraints)
        usage = _extension(raw, x509.KeyUsage)
        return cls(
            der=der,
            tbs=raw.tbs_certificate_bytes,
            signature=raw.signature,
            subject=raw.subject.public_bytes(),
            issuer=raw.issuer.public_bytes(),
            common_name=_common_name(raw.subject),
            serial=raw.serial_number,
            not_before=raw.not_valid_before_utc,
            not_after=raw.not_valid_after_utc,
            public_key=key,
            spki=key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
            is_ca=basic is not None and basic.ca,
            path_length=None if basic is None else basic.path_length,
            may_sign_data=usage is not None and usage.digital_signature,
            may_sign_certificates=usage is not None and usage.key_cert_sign,
            may_sign_crls=usage is not None and usage.crl_sign,
            extensions=_foreign_extensions(raw),
        )

    def check_signed_by(self, key: ec.EllipticCurvePublicKey, code: str) -> None:
        """Return if `key` signed this certificate; `Unverified` with `code` otherwise."""
        check_signature(key, self.signature, self.tbs, code, f'the certificate "{self.common_name}"')

    def pem(self) -> str:
        """The certificate as PEM (RFC 7468), LF at the end."""
        text = base64.b64encode(self.der).decode("ascii")
        lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def parse_chain(pem: bytes, what: str) -> tuple[Certificate, ...]:
    """The certificates of a PEM text in its order; between them only white space and NULs.

    Raises:
        Malformed: `{what}-pem`, `{what}-size`, or the codes of `Certificate.parse`.
    """
    if len(pem) > MAX_CHAIN * MAX_SIZE * 2:
        raise Malformed(f"{what}-size", f"The {what} has {len(pem)} bytes, more than are read.")
    if _PEM.sub(b"", pem).strip(_BETWEEN):
        raise Malformed(f"{what}-pem", f"The {what} is not a list of PEM certificates.")
    blocks = _PEM.findall(pem)
    if not 0 < len(blocks) <= MAX_CHAIN:
        raise Malformed(f"{what}-pem", f"The {what} holds {len(blocks)} certificates; 1 to {MAX_CHAIN} are expected.")
    return tuple(Certificate.parse(_unbase64(block, what)) for block in blocks)


def _unbase64(text: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        raise Malformed(f"{what}-pem", f"The {what} holds a PEM block that is not base64.") from None


def _p256(raw: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = raw.public_key()
    signed_so = raw.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256
    if signed_so and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise Malformed("certificate-algorithm", "A certificate does not use ECDSA on P-256 with SHA-256.")


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(found) != 1 or not isinstance(found[0].value, str):
        raise Malformed("certificate-syntax", "A certificate's subject must have exactly one common name.")
    return found[0].value


def _extension(raw: x509.Certificate, kind: type[Value]) -> Value | None:
    try:
        return raw.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _foreign_extensions(raw: x509.Certificate) -> Mapping[str, bytes]:
    """Contents of the extensions that only their owner understands; a critical one that nobody knows is refused."""
    foreign = {}
    for extension in raw.extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise Malformed(
                "certificate-extension",
                f"A certificate has the critical extension {extension.oid.dotted_string}, which is not understood.",
            )
        if isinstance(extension.value, x509.UnrecognizedExtension):
            foreign[extension.oid.dotted_string] = extension.value.value
    return MappingProxyType(foreign)
