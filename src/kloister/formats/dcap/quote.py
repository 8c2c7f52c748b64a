"""Quotes of versions 3, 4 and 5. Sources: Intel SGX ECDSA QuoteLib API A.4, TDX DCAP Quoting Library API A.3.

All integers are little-endian. Every nested size must consume its parent exactly; only after the whole quote may
padding follow, because clouds pad quotes to a fixed size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from kloister.errors import Malformed, Misused
from kloister.formats.sgx import ReportBody
from kloister.formats.wire import Writer

MAX_SIZE = 128 * 1024  # bytes; real quotes have 5 KiB, padded ones 8 KiB
HEADER_SIZE = 48
SGX_BODY_SIZE = 384
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
KEY_TYPE_P256 = 2
_WHAT, _TAIL = "quote", "quote-authentication"  # the first parts of reason codes
_V3, _V4, _V5 = 3, 4, 5
_HEADER = struct.Struct("<HHIHH16s20s")
_KEYS = struct.Struct("<64s64s")  # signature, attestation key
_QE = struct.Struct("<384s64sH")  # QE report, its signature, size of the QE authentication data
_CERTIFICATION = struct.Struct("<HI")  # type, size
_DESCRIPTOR = struct.Struct("<HI")  # of version 5: body type, body size
_SIZE = 4  # bytes of the signature data's size


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


_BODY_TYPES = {int(each): each for each in BodyType}
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


@dataclass(frozen=True, slots=True)
class Header:
    """The 48 bytes in front of every quote, field by field in their order."""

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
        if len(data) != HEADER_SIZE:
            end = "trailing" if data[HEADER_SIZE:] else "truncated"
            raise Malformed(f"{_WHAT}-{end}", f"A quote's header has {HEADER_SIZE} bytes, not {len(data)}.")
        return cls(*_HEADER.unpack(data))

    def build(self) -> bytes:
        """The 48 bytes."""
        w = Writer().uint(self.version, 2).uint(self.key_type, 2).uint(self.tee_type, 4)
        w.uint(self.qe_svn, 2).uint(self.pce_svn, 2)
        return w.raw(self.qe_vendor_id, 16).raw(self.user_data, 20).build()


def tee_type(data: bytes) -> TeeType | None:
    """What a quote's header says that made it, whatever follows; None where there is no header that is known."""
    try:
        header = Header.parse(data[:HEADER_SIZE])
        _check_header(header)
    except Malformed:
        return None
    return TeeType(header.tee_type)


_CERTIFICATION_TYPES = {int(each): each for each in CertificationType}


def _truncated(what: str, wanted: int, left: int) -> Malformed:
    text = f"The quote's authentication data ends inside {what}: {wanted} bytes wanted, {left} left."
    return Malformed(f"{_TAIL}-truncated", text)


@dataclass(frozen=True, slots=True)
class CertificationData:
    """Type (u16), size (u32) and data."""

    type: CertificationType
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one that fills `data`. Raises `Malformed`: `certification-type`, `quote-authentication-*`."""
        if len(data) < _CERTIFICATION.size:
            raise _truncated("certification data", _CERTIFICATION.size, len(data))
        number, size = _CERTIFICATION.unpack_from(data)
        kind = _CERTIFICATION_TYPES.get(number)
        if kind is None:
            raise Malformed("certification-type", f"Certification data of type {number} is not known.")
        left = len(data) - _CERTIFICATION.size
        if size > left:
            raise _truncated("certification data", size, left)
        if size < left:
            raise Malformed(f"{_TAIL}-trailing", f"{left - size} bytes follow the certification data.")
        return cls(kind, data[_CERTIFICATION.size :])

    def build(self) -> bytes:
        """Type, size and data."""
        return Writer().uint(self.type, 2).uint(len(self.data), 4).raw(self.data).build()


@dataclass(frozen=True, slots=True)
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
        """Read the signature data of a quote of that version; versions 4 and 5 wrap the QE's part in type 6.

        Raises:
            Malformed: `quote-authentication-truncated`, `quote-authentication-trailing`, `certification-type`.
        """
        if len(data) < _KEYS.size:
            raise _truncated("the quote's signature or the attestation key", _KEYS.size, len(data))
        signature, key = _KEYS.unpack_from(data)
        tail = data[_KEYS.size :]
        if version != _V3:
            outer = CertificationData.parse(tail)
            if outer.type is not CertificationType.QE_REPORT:
                raise Malformed("certification-type", f"The outer certification data has type {outer.type}, not 6.")
            tail = outer.data
        if len(tail) < _QE.size:
            raise _truncated("the QE report or its signature", _QE.size, len(tail))
        qe_report, qe_report_signature, size = _QE.unpack_from(tail)
        end = _QE.size + size
        if len(tail) < end:
            raise _truncated("the QE authentication data", size, len(tail) - _QE.size)
        auth_data, certification = tail[_QE.size : end], CertificationData.parse(tail[end:])
        return cls(signature, key, qe_report, qe_report_signature, auth_data, certification)

    def build(self, version: int) -> bytes:
        """The signature data as that version lays it out."""
        inner = Writer().raw(self.qe_report, SGX_BODY_SIZE).raw(self.qe_report_signature, 64)
        inner.uint(len(self.qe_auth_data), 2).raw(self.qe_auth_data).raw(self.certification.build())
        tail = inner.build()
        if version != _V3:
            tail = CertificationData(type=CertificationType.QE_REPORT, data=tail).build()
        return Writer().raw(self.signature, 64).raw(self.attestation_key, 64).raw(tail).build()


@dataclass(frozen=True, slots=True)
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
        header = Header.parse(data[:HEADER_SIZE])
        _check_header(header)
        body_type, start = _body_type(header, data)
        end = start + _BODY_SIZES[body_type]
        last = end + _SIZE + int.from_bytes(data[end : end + _SIZE], "little")
        if len(data) < last:
            text = (
                f"The quote ends inside its body or its signature data: it has {len(data)} bytes, not {last} or more."
            )
            raise Malformed(f"{_WHAT}-truncated", text)
        authentication = Authentication.parse(data[end + _SIZE : last], header.version)
        return cls(header, body_type, data[start:end], data[:end], authentication, data[last:])

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
    if header.tee_type != TeeType.SGX and (header.tee_type != TeeType.TDX or header.version == _V3):
        raise Malformed("quote-tee", f"A quote of version {header.version} cannot have TEE type {header.tee_type:#x}.")
    if header.qe_vendor_id != INTEL_QE_VENDOR_ID:
        raise Malformed("quote-vendor", "The quoting enclave is not of the vendor Intel.")


def _body_type(header: Header, data: bytes) -> tuple[BodyType, int]:
    """The body's type and where it starts; version 5 states type and size, which must fit each other and the TEE."""
    if header.version != _V5:
        return (BodyType.SGX if header.tee_type == TeeType.SGX else BodyType.TD10), HEADER_SIZE
    start = HEADER_SIZE + _DESCRIPTOR.size
    if len(data) < start:
        raise Malformed(
            f"{_WHAT}-truncated", f"The quote ends inside its body's description: it has {len(data)} bytes."
        )
    number, size = _DESCRIPTOR.unpack_from(data, HEADER_SIZE)
    body_type = _BODY_TYPES.get(number)
    if body_type is None or size != _BODY_SIZES[body_type]:
        raise Malformed("quote-body-type", f"There is no body of type {number} with {size} bytes.")
    if (body_type is BodyType.SGX) != (header.tee_type == TeeType.SGX):
        raise Malformed("quote-body-type", f"A body of type {number} does not go with TEE type {header.tee_type:#x}.")
    return body_type, start
