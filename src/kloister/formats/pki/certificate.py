"""X.509 certificates (RFC 5280) as far as evidence uses them: P-256, SHA-256, a handful of extensions."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import SignatureAlgorithmOID

from kloister.errors import Malformed
from kloister.formats.pki import der
from kloister.formats.pki.signature import check_signature, p256_key
from kloister.formats.pki.unreadable import UNREADABLE

MAX_SIZE = 16 * 1024  # bytes of one certificate; a PCK certificate has about 1300
MAX_CHAIN = 8  # certificates in one PEM text; Intel's chains have three
_SPACE = b" \t\r\n\f\v"
_PEM = re.compile(
    rb"[ \t\r\n\0]*-----BEGIN CERTIFICATE-----([ \t\r\n\f\v][A-Za-z0-9+/= \t\r\n\f\v]+)-----END CERTIFICATE-----"
)
_BETWEEN = b" \t\r\n\0"  # the chain in a quote is often NUL-terminated (DCAP, certification data 5)
# In front of the 64 bytes of a P-256 point, which its lengths count (RFC 5480)
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_VERSION = 0xA0  # tag of the version, which version 1 leaves out
_COMMON_NAME = bytes.fromhex("0603550403")  # 2.5.4.3
_TEXTS = (b"\x0c", b"\x13")  # tags of UTF8String and PrintableString
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
    def parse(cls, data: bytes) -> Self:
        """Read DER.

        Raises:
            Malformed: `certificate-size`, `certificate-syntax`, `certificate-algorithm`, `certificate-extension`.
        """
        if len(data) > MAX_SIZE:
            raise Malformed("certificate-size", f"A certificate of {len(data)} bytes; at most {MAX_SIZE} are read.")
        try:
            return cls._read(x509.load_der_x509_certificate(data), data)
        except UNREADABLE:
            raise Malformed("certificate-syntax", "A certificate is not well-formed X.509.") from None

    @classmethod
    def _read(cls, raw: x509.Certificate, data: bytes) -> Self:
        if raw.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
            raise _unfit_algorithm()
        if not der.ends_with_bits(data, raw.signature):
            raise Malformed("certificate-syntax", "A certificate has a signature that is not whole bytes.")
        tbs, serial_on = _fields(data)
        issuer, _, subject, spki = serial_on[2:]
        if not spki.startswith(_P256):
            raise _unfit_algorithm()
        known, foreign = _extensions(raw)
        basic, usage = known.get(x509.BasicConstraints), known.get(x509.KeyUsage)
        return cls(
            der=data,
            tbs=tbs,
            signature=raw.signature,
            subject=subject,
            issuer=issuer,
            common_name=_common_name(subject),
            serial=raw.serial_number,
            not_before=raw.not_valid_before_utc,
            not_after=raw.not_valid_after_utc,
            public_key=p256_key(spki[len(_P256) :], "certificate"),
            spki=spki,
            is_ca=basic is not None and basic.ca,
            path_length=None if basic is None else basic.path_length,
            may_sign_data=usage is not None and usage.digital_signature,
            may_sign_certificates=usage is not None and usage.key_cert_sign,
            may_sign_crls=usage is not None and usage.crl_sign,
            extensions=foreign,
        )

    def check_signed_by(self, key: ec.EllipticCurvePublicKey, code: str) -> None:
        """Return if `key` signed this certificate; `Unverified` with `code` otherwise."""
        check_signature(key, self.signature, self.tbs, code, f'the certificate "{self.common_name}"')

    def pem(self) -> str:
        """The certificate as PEM (RFC 7468), LF at the end."""
        text = base64.b64encode(self.der).decode("ascii")
        lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def parse_chain(pem: bytes, what: str, known: Sequence[Certificate] = ()) -> tuple[Certificate, ...]:
    """The certificates of a PEM text in its order; between them only white space and NULs.

    Args:
        pem: the text.
        what: its name, for codes.
        known: certificates that were read before, of which the same bytes need not be read again.

    Raises:
        Malformed: `{what}-pem`, `{what}-size`, or the codes of `Certificate.parse`.
    """
    if len(pem) > MAX_CHAIN * MAX_SIZE * 2:
        raise Malformed(f"{what}-size", f"The {what} has {len(pem)} bytes, more than are read.")
    found: list[Certificate] = []
    at = 0
    while len(found) < MAX_CHAIN and (block := _PEM.match(pem, at)) is not None:
        data = _unbase64(block[1], what)
        found.append(next((each for each in known if each.der == data), None) or Certificate.parse(data))
        at = block.end()
    if pem[at:].strip(_BETWEEN):
        raise Malformed(f"{what}-pem", f"The {what} is not a list of at most {MAX_CHAIN} PEM certificates.")
    if not found:
        raise Malformed(f"{what}-pem", f"The {what} holds no certificate; 1 to {MAX_CHAIN} are expected.")
    return tuple(found)


def _unbase64(text: bytes, what: str) -> bytes:
    try:
        return binascii.a2b_base64(text.translate(None, _SPACE), strict_mode=True)
    except binascii.Error:
        raise Malformed(f"{what}-pem", f"The {what} holds a PEM block that is not base64.") from None


def _unfit_algorithm() -> Malformed:
    return Malformed("certificate-algorithm", "A certificate does not use ECDSA on P-256 with SHA-256.")


def _fields(data: bytes) -> tuple[bytes, list[bytes]]:
    """The signed part, and its fields from the serial number to the key; cryptography has checked that it is DER.

    Slices of the very bytes: encoding what was decoded again would cost more than reading it.
    """
    start, _ = der.content(data, 0, "certificate")
    at, end = der.content(data, start, "certificate")
    tbs = data[start:end]
    if data[at] == _VERSION:
        at = der.content(data, at, "certificate")[1]
    found = []
    for _ in range(6):  # serial number, algorithm, issuer, validity, subject, key
        end = der.content(data, at, "certificate")[1]
        found.append(data[at:end])
        at = end
    return tbs, found


def _common_name(name: bytes) -> str:
    """The one common name of a subject, in either of the forms that RFC 5280 (4.1.2.4) lets CAs write."""
    found = []
    at, end = der.content(name, 0, "certificate")
    while at < end:
        attribute, at = der.content(name, at, "certificate")  # of a set, which holds one or more
        while attribute < at:
            start, attribute = der.content(name, attribute, "certificate")
            if name.startswith(_COMMON_NAME, start):
                found.append(name[start + len(_COMMON_NAME) : attribute])
    if len(found) != 1 or not found[0].startswith(_TEXTS):
        raise Malformed("certificate-syntax", "A certificate's subject must have exactly one common name.")
    start, end = der.content(found[0], 0, "certificate")
    return found[0][start:end].decode("utf-8")


def _extensions(raw: x509.Certificate) -> tuple[dict[type, Any], Mapping[str, bytes]]:
    """Extensions by class, and the contents of those that only their owner understands.

    A critical one that nobody knows is refused.
    """
    known: dict[type, Any] = {}
    foreign = {}
    for extension in raw.extensions:
        value = extension.value
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise Malformed(
                "certificate-extension",
                f"A certificate has the critical extension {extension.oid.dotted_string}, which is not understood.",
            )
        if isinstance(value, x509.UnrecognizedExtension):
            foreign[extension.oid.dotted_string] = value.value
        else:
            known[type(value)] = value
    return known, MappingProxyType(foreign)
