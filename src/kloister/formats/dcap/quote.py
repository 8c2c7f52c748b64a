"""Quotes of versions 3, 4 and 5. Sources: Intel SGX ECDSA QuoteLib API A.4, TDX DCAP Quoting Library API A.3.

All integers are little-endian. Every nested size must consume its parent exactly; only after the whole quote may
padding follow, because clouds pad quotes to a fixed size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from kloister.errors import Malformed, Misused
from kloister.formats.sgx import ReportBody
from kloister.formats.wire import Cursor, Writer

MAX_SIZE = 128 * 1024  # bytes; real quotes have 5 KiB, padded ones 8 KiB
HEADER_SIZE = 48
SGX_BODY_SIZE = 384
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
KEY_TYPE_P256 = 2
_V3, _V4, _V5 = 3, 4, 5


class TeeType(IntEnum):
    """What made the quote (header, offset 4)."""

    SGX = 0
    TDX = 0x81


class BodyType(IntEnum):
    """What was quoted (version 5, offset 48; follows from version and TEE type before that)."""

    SGX = 1
    TD10 = 2
    TD15 = 3
    TD15EX = 4


_BODY_SIZES = {BodyType.SGX: 384, BodyType.TD10: 584, BodyType.TD15: 648, BodyType.TD15EX: 885}


class CertificationType(IntEnum):
    """How the quote names the PCK certificate that vouches for its QE."""

    PPID_PLAIN = 1
    PPID_RSA2048 = 2
    PPID_RSA3072 = 3
    PCK_LEAF = 4
    PCK_CHAIN = 5
    QE_REPORT = 6
    PLATFORM_MANIFEST = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The 48 bytes in front of every quote."""

    version: int  # 0: u16
    key_type: int = KEY_TYPE_P256  # 2: u16
    tee_type: int = TeeType.SGX  # 4: u32, zero in version 3
    qe_svn: int = 0  # 8: u16, reserved from version 4 on
    pce_svn: int = 0  # 10: u16, reserved from version 4 on
    qe_vendor_id: bytes = INTEL_QE_VENDOR_ID  # 12: 16
    user_data: bytes = bytes(20)  # 28: 20, the first 16 are the QE's id

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read 48 bytes. Raises `Malformed`: `quote-truncated`, `quote-trailing`."""
        c = Cursor(data, "quote")
        header = cls(
            version=c.uint(2, "version"),
            key_type=c.uint(2, "attestation key type"),
            tee_type=c.uint(4, "TEE type"),
            qe_svn=c.uint(2, "QE SVN"),
            pce_svn=c.uint(2, "PCE SVN"),
            qe_vendor_id=c.take(16, "QE vendor id"),
            user_data=c.take(20, "user data"),
        )
        c.finish()
        return header

    def build(self) -> bytes:
        """The 48 bytes."""
        w = Writer().uint(self.version, 2).uint(self.key_type, 2).uint(self.tee_type, 4)
        w.uint(self.qe_svn, 2).uint(self.pce_svn, 2)
        return w.raw(self.qe_vendor_id, 16).raw(self.user_data, 20).build()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationData:
    """Type (u16), size (u32) and data."""

    type: CertificationType
    data: bytes = field(repr=False)

    @classmethod
    def take(cls, c: Cursor) -> Self:
        """Read one from the cursor's place. Raises `Malformed`: `certification-type`, `...-truncated`."""
        number = c.uint(2, "certification data type")
        if number not in CertificationType.__members__.values():
            raise Malformed("certification-type", f"Certification data of type {number} is not known.")
        return cls(
            type=CertificationType(number), data=c.take(c.uint(4, "certification data size"), "certification data")
        )

    def build(self) -> bytes:
        """Type, size and data."""
        return Writer().uint(self.type, 2).uint(len(self.data), 4).raw(self.data).build()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """The signature data: who signed the quote, and who vouches for that key. Sizes in bytes."""

    signature: bytes = field(repr=False)  # 64: r and s, big-endian, over `Quote.signed`
    attestation_key: bytes  # 64: x and y, big-endian
    qe_report: bytes = field(repr=False)  # 384: the QE's own report, as signed
    qe_report_signature: bytes = field(repr=False)  # 64: by the PCK
    qe_auth_data: bytes  # any length
    certification: CertificationData

    @classmethod
    def parse(cls, data: bytes, version: int) -> Self:
        """Read the signature data of a quote of that version; versions 4 and 5 wrap the QE's part in type 6."""
        c = Cursor(data, "quote-authentication")
        signature, key = c.take(64, "quote signature"), c.take(64, "attestation key")
        if version != _V3:
            outer = CertificationData.take(c)
            c.finish()
            if outer.type != CertificationType.QE_REPORT:
                raise Malformed("certification-type", f"The outer certification data has type {outer.type}, not 6.")
            c = Cursor(outer.data, "quote-authentication")
        parsed = cls(
            signature=signature,
            attestation_key=key,
            qe_report=c.take(SGX_BODY_SIZE, "QE report"),
            qe_report_signature=c.take(64, "QE report signature"),
            qe_auth_data=c.take(c.uint(2, "QE authentication data size"), "QE authentication data"),
            certification=CertificationData.take(c),
        )
        c.finish()
        return parsed

    def build(self, version: int) -> bytes:
        """The signature data as that version lays it out."""
        inner = Writer().raw(self.qe_report, SGX_BODY_SIZE).raw(self.qe_report_signature, 64)
        inner.uint(len(self.qe_auth_data), 2).raw(self.qe_auth_data).raw(self.certification.build())
        tail = inner.build()
        if version != _V3:
            tail = CertificationData(type=CertificationType.QE_REPORT, data=tail).build()
        return Writer().raw(self.signature, 64).raw(self.attestation_key, 64).raw(tail).build()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote, parsed; nothing about it has been verified. `signed` is the exact slice the attestation key signed."""

    header: Header
    body_type: BodyType
    body: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    authentication: Authentication
    padding: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a quote with all its structural rules.

        Raises:
            Malformed: `quote-size`, `quote-truncated`, `quote-version`, `quote-key-type`, `quote-tee`, `quote-vendor`,
                `quote-body-type`, `quote-authentication-truncated`, `quote-authentication-trailing`,
                `certification-type`.
        """
        if len(data) > MAX_SIZE:
            raise Malformed("quote-size", f"The quote has {len(data)} bytes; at most {MAX_SIZE} are read.")
        c = Cursor(data, "quote")
        header = Header.parse(c.take(HEADER_SIZE, "header"))
        _check_header(header)
        body_type = _body_type(header, c)
        body = c.take(_BODY_SIZES[body_type], "body")
        signed = data[: c.offset]
        authentication = Authentication.parse(
            c.take(c.uint(4, "signature data size"), "signature data"), header.version
        )
        return cls(
            header=header,
            body_type=body_type,
            body=body,
            signed=signed,
            authentication=authentication,
            padding=c.rest(),
        )

    @property
    def report(self) -> ReportBody:
        """The SGX report in the body; asking a TDX quote for it is a bug of ours."""
        if self.body_type != BodyType.SGX:
            raise Misused("quote-body", "The body of this quote is no SGX report.")
        return ReportBody.parse(self.body)

    def build(self) -> bytes:
        """The whole quote, padding included."""
        w = Writer().raw(self.signed)
        authentication = self.authentication.build(self.header.version)
        return w.uint(len(authentication), 4).raw(authentication).raw(self.padding).build()

    @staticmethod
    def to_sign(header: Header, body: bytes, body_type: BodyType = BodyType.SGX) -> bytes:
        """The bytes that the attestation key signs: header and body, in version 5 also the body's type and size."""
        descriptor = Writer()
        if header.version == _V5:
            descriptor.uint(body_type, 2).uint(len(body), 4)
        return header.build() + descriptor.build() + body


def _check_header(header: Header) -> None:
    if header.version not in (_V3, _V4, _V5):
        raise Malformed("quote-version", f"Quotes of version {header.version} are not known; 3, 4 and 5 are.")
    if header.key_type != KEY_TYPE_P256:
        raise Malformed(
            "quote-key-type", f"Attestation keys of type {header.key_type} are not known; ECDSA P-256 (2) is."
        )
    if header.tee_type not in TeeType.__members__.values() or (
        header.version == _V3 and header.tee_type != TeeType.SGX
    ):
        raise Malformed("quote-tee", f"A quote of version {header.version} cannot have TEE type {header.tee_type:#x}.")
    if header.qe_vendor_id != INTEL_QE_VENDOR_ID:
        raise Malformed("quote-vendor", "The quoting enclave is not of the vendor Intel.")


def _body_type(header: Header, c: Cursor) -> BodyType:
    """The body's type, with type and size checked where version 5 states them."""
    if header.version != _V5:
        return BodyType.SGX if header.tee_type == TeeType.SGX else BodyType.TD10
    number, size = c.uint(2, "body type"), c.uint(4, "body size")
    if number not in BodyType.__members__.values() or size != _BODY_SIZES[BodyType(number)]:
        raise Malformed("quote-body-type", f"There is no body of type {number} with {size} bytes.")
    if (number == BodyType.SGX) != (header.tee_type == TeeType.SGX):
        raise Malformed("quote-body-type", f"A body of type {number} does not go with TEE type {header.tee_type:#x}.")
    return BodyType(number)
