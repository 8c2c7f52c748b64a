"""AMD's X.509 certificates: ARK, ASK, ASVK, VCEK and VLEK (AMD 57230, appendix; RFC 5280).

They are read here and not by `cryptography.x509`, because every VCEK and VLEK has the serial number 0, which the
library warns of and announces to refuse. Keys and signatures are still the library's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kloister.errors import Malformed
from kloister.formats.pki import der
from kloister.formats.pki.unreadable import UNREADABLE
from kloister.formats.snp.signature import is_pss_sha384

MAX_SIZE = 16 * 1024  # bytes of one certificate; AMD's have 1300 to 1700
MAX_CHAIN = 8  # certificates in one file; KDS sends two, a file for both kinds of keys holds three
_WHAT = "amd-certificate"
_RSA_BITS = 4096
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----")
_BETWEEN = b" \t\r\n\0"
_BIT_STRING, _SET, _UTC_TIME, _GENERALIZED_TIME = 0x03, 0x31, 0x17, 0x18
_VERSION_TAG, _EXTENSIONS_TAG = 0xA0, 0xA3
_VERSION_3 = der.encode_unsigned(der.INTEGER, 2)
# version, serial, algorithm, issuer, validity, subject, key, extensions
_BODY_TAGS = [_VERSION_TAG, der.INTEGER, *[der.SEQUENCE] * 5, _EXTENSIONS_TAG]
_TIMES = {_UTC_TIME: re.compile(rb"\d{12}Z"), _GENERALIZED_TIME: re.compile(rb"\d{14}Z")}
_CENTURY = 50  # RFC 5280, 4.1.2.5.1: two-digit years below it are of this century
_TEXTS = (0x0C, 0x13, 0x16)  # UTF8String, PrintableString, IA5String
_COMMON_NAME = bytes.fromhex("550403")
_KEY_USAGE, _BASIC_CONSTRAINTS = bytes.fromhex("551d0f"), bytes.fromhex("551d13")
_UNDERSTOOD = {_KEY_USAGE, _BASIC_CONSTRAINTS}
_KEY_CERT_SIGN, _CRL_SIGN = 0x04, 0x02  # bits 5 and 6 of keyUsage

Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdCertificate:
    """One certificate, read completely; nothing about it has been verified.

    Names are the exact DER bytes. `extensions` maps the DER contents of object identifiers to contents.
    """

    raw: bytes = field(repr=False)
    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    subject: bytes
    issuer: bytes
    common_name: str
    serial: int
    not_before: datetime
    not_after: datetime
    public_key: Key = field(repr=False, compare=False)  # RSA of 4096 bits, or P-384
    spki: bytes = field(repr=False)
    is_ca: bool
    may_sign_certificates: bool
    may_sign_crls: bool
    extensions: Mapping[bytes, bytes] = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read DER.

        Raises:
            Malformed: `amd-certificate-size`, `amd-certificate-der`, `amd-certificate-syntax`,
                `amd-certificate-algorithm`, `amd-certificate-key`, `amd-certificate-extension`.
        """
        if len(data) > MAX_SIZE:
            raise Malformed("amd-certificate-size", f"A certificate of {len(data)} bytes; at most {MAX_SIZE} are read.")
        parts = der.split(der.single(data, der.SEQUENCE, _WHAT), _WHAT)
        if [part.tag for part in parts] != [der.SEQUENCE, der.SEQUENCE, _BIT_STRING]:
            raise _syntax("is not a body, an algorithm and a signature")
        body, algorithm, signature = parts
        fields = der.split(body.content, _WHAT)
        if [part.tag for part in fields] != _BODY_TAGS or fields[0].content != _VERSION_3:
            raise _syntax("is not of X.509 version 3 with extensions")
        _, serial, signed_so, issuer, validity, subject, key, extensions = fields
        if signed_so != algorithm or not is_pss_sha384(algorithm.content):
            raise Malformed(
                "amd-certificate-algorithm", "A certificate is not signed with RSA-PSS and SHA-384, as AMD's are."
            )
        return cls._of(
            data,
            der.encode(body.tag, body.content),
            _bits(signature),
            (serial, issuer, validity, subject, key),
            extensions,
        )

    @classmethod
    def _of(
        cls, data: bytes, tbs: bytes, signature: bytes, fields: tuple[der.Element, ...], extensions: der.Element
    ) -> Self:
        serial, issuer, validity, subject, key = fields
        start, end = _period(validity)
        spki = der.encode(key.tag, key.content)
        contents = _extensions(extensions)
        usage = _key_usage(contents.get(_KEY_USAGE))
        return cls(
            raw=data,
            tbs=tbs,
            signature=signature,
            subject=der.encode(subject.tag, subject.content),
            issuer=der.encode(issuer.tag, issuer.content),
            common_name=_common_name(subject),
            serial=int.from_bytes(serial.content, "big", signed=True),
            not_before=start,
            not_after=end,
            public_key=_key(spki),
            spki=spki,
            is_ca=_is_ca(contents.get(_BASIC_CONSTRAINTS)),
            may_sign_certificates=bool(usage & _KEY_CERT_SIGN),
            may_sign_crls=bool(usage & _CRL_SIGN),
            extensions=contents,
        )

    @property
    def rsa_key(self) -> rsa.RSAPublicKey:
        """The key of a certificate that signs others. Raises `Malformed`: `amd-certificate-key`."""
        if isinstance(self.public_key, rsa.RSAPublicKey):
            return self.public_key
        raise Malformed(
            "amd-certificate-key", f'The certificate "{self.common_name}" holds no RSA key, as issuers have.'
        )

    @property
    def p384_key(self) -> ec.EllipticCurvePublicKey:
        """The key of a certificate that signs reports. Raises `Malformed`: `amd-certificate-key`."""
        if isinstance(self.public_key, ec.EllipticCurvePublicKey):
            return self.public_key
        raise Malformed(
            "amd-certificate-key", f'The certificate "{self.common_name}" holds no P-384 key, as chips have.'
        )


def parse_certificates(data: bytes, what: str) -> tuple[AmdCertificate, ...]:
    """The certificates of a file, in its order: PEM, with white space between, or DER, one behind the other.

    Raises:
        Malformed: `{what}-size`, `{what}-pem`, or the codes of `AmdCertificate.parse`.
    """
    if len(data) > MAX_CHAIN * MAX_SIZE * 2:
        raise Malformed(f"{what}-size", f"The {what} has {len(data)} bytes, more than are read.")
    if data[:1] == bytes([der.SEQUENCE]):
        blocks = [der.encode(each.tag, each.content) for each in der.split(data, _WHAT)]
    elif _PEM.sub(b"", data).strip(_BETWEEN):
        raise Malformed(f"{what}-pem", f"The {what} is neither DER nor a list of PEM certificates.")
    else:
        blocks = [_unbase64(block, what) for block in _PEM.findall(data)]
    if not 0 < len(blocks) <= MAX_CHAIN:
        raise Malformed(f"{what}-pem", f"The {what} holds {len(blocks)} certificates; 1 to {MAX_CHAIN} are expected.")
    return tuple(AmdCertificate.parse(block) for block in blocks)


def _unbase64(text: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        raise Malformed(f"{what}-pem", f"The {what} holds a PEM block that is not base64.") from None


def _bits(element: der.Element) -> bytes:
    """The content of a BIT STRING of whole bytes."""
    if element.content[:1] != b"\0":
        raise _syntax("has a signature that is not of whole bytes")
    return element.content[1:]


def _period(validity: der.Element) -> tuple[datetime, datetime]:
    times = der.split(validity.content, _WHAT)
    if len(times) != 2:  # noqa: PLR2004 -- notBefore and notAfter
        raise _syntax("has no validity of a beginning and an end")
    return _time(times[0]), _time(times[1])


def _time(element: der.Element) -> datetime:
    """UTCTime or GeneralizedTime as RFC 5280, 4.1.2.5, wants them: seconds, and Z."""
    form = _TIMES.get(element.tag)
    if form is None or not form.fullmatch(element.content):
        raise _syntax("has a date that is not written as it must be")
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:
        text = ("20" if int(text[:2]) < _CENTURY else "19") + text
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _syntax("has a date that does not exist") from None


def _common_name(name: der.Element) -> str:
    found = []
    for group in der.split(name.content, _WHAT):
        for attribute in der.split(der.expect(group, _SET, _WHAT), _WHAT):
            pair = der.split(der.expect(attribute, der.SEQUENCE, _WHAT), _WHAT)
            if pair[:1] == (der.Element(der.OBJECT_IDENTIFIER, _COMMON_NAME),):
                found.append(der.one(pair[1:], _WHAT))
    if len(found) != 1 or found[0].tag not in _TEXTS:
        raise _syntax("has not exactly one common name in its subject")
    return found[0].content.decode("utf-8", "replace")


def _key(spki: bytes) -> Key:
    try:
        key = load_der_public_key(spki)
    except UNREADABLE:
        key = None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == _RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1):
        return key
    raise Malformed(
        "amd-certificate-key", f"A certificate's key is neither RSA of {_RSA_BITS} bits nor a point of P-384."
    )


def _extensions(element: der.Element) -> Mapping[bytes, bytes]:
    """Contents by identifier; a critical one that is not understood is refused."""
    contents: dict[bytes, bytes] = {}
    for extension in der.split(der.single(element.content, der.SEQUENCE, _WHAT), _WHAT):
        parts = der.split(der.expect(extension, der.SEQUENCE, _WHAT), _WHAT)
        if len(parts) not in (2, 3):
            raise _syntax("has an extension that is not an identifier and a value")
        oid = der.expect(parts[0], der.OBJECT_IDENTIFIER, _WHAT)
        critical = len(parts) == 3 and der.boolean(parts[1], _WHAT)  # noqa: PLR2004 -- the flag is in the middle
        if oid in contents or (critical and oid not in _UNDERSTOOD):
            raise Malformed(
                "amd-certificate-extension",
                "A certificate has an extension twice, or a critical one that is not understood.",
            )
        contents[oid] = der.expect(parts[-1], der.OCTET_STRING, _WHAT)
    return MappingProxyType(contents)


def _key_usage(content: bytes | None) -> int:
    """The first eight bits of keyUsage (RFC 5280, 4.2.1.3); none where the extension is absent."""
    if content is None:
        return 0
    bits = der.single(content, _BIT_STRING, _WHAT)
    return bits[1] if len(bits) > 1 else 0


def _is_ca(content: bytes | None) -> bool:
    """The flag of basicConstraints (RFC 5280, 4.2.1.9)."""
    parts = der.split(der.single(content, der.SEQUENCE, _WHAT), _WHAT) if content is not None else ()
    return bool(parts) and parts[0].tag == der.BOOLEAN and der.boolean(parts[0], _WHAT)


def _syntax(what: str) -> Malformed:
    return Malformed("amd-certificate-syntax", f"A certificate {what}.")
