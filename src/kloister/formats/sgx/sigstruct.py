from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from kloister.errors import Malformed, Misconfigured, Unverified
from kloister.formats.sgx.attributes import Attributes
from kloister.formats.wire import Cursor, Writer

Signer = Callable[[bytes], tuple[int, int, int]]

_KEY_SIZE = 384  # bytes: RSA-3072
_EXPONENT = 3
_HEADER = bytes.fromhex("06000000e10000000000010000000000")
_HEADER2 = bytes.fromhex("01010000600000006000000001000000")
# DER of the DigestInfo of SHA-256 up to the digest (RFC 8017, 9.2, note 1)
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True, slots=True)
class Sigstruct:
    """SIGSTRUCT, 1808 bytes: the enclave's certificate by its author (SDM 3D, 35.14)."""

    SIZE: ClassVar[int] = 1808

    enclavehash: bytes  # 960, 32 bytes: the MRENCLAVE that is signed
    attributes: Attributes  # 928
    attribute_mask: Attributes  # 944
    date: dt.date | None = None  # 20, BCD yyyymmdd; None is written as 0000-00-00
    vendor: int = 0  # 16, u32
    swdefined: int = 0  # 40, u32
    miscselect: int = 0  # 900, u32
    misc_mask: int = 0xFFFFFFFF  # 904, u32
    cet_attributes: int = 0  # 908, u8
    cet_mask: int = 0  # 909, u8
    isvfamilyid: bytes = bytes(16)  # 912
    isvextprodid: bytes = bytes(16)  # 1008
    isvprodid: int = 0  # 1024, u16
    isvsvn: int = 0  # 1026, u16
    modulus: bytes = bytes(_KEY_SIZE)  # 128, little-endian
    signature: bytes = bytes(_KEY_SIZE)  # 516, little-endian
    q1: bytes = bytes(_KEY_SIZE)  # 1040, little-endian: s^2 // n
    q2: bytes = bytes(_KEY_SIZE)  # 1424, little-endian: ((s^2 mod n) * s) // n

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads the structure; says nothing about its signature.

        Raises:
            Malformed: another size, a header, exponent or date that is none, reserved bytes that are not zero.
        """
        cursor = Cursor(data, "sigstruct")
        _constant(cursor, _HEADER, "header")
        vendor, date = cursor.uint(4, "vendor"), _date(cursor.take(4, "date"))
        _constant(cursor, _HEADER2, "header2")
        swdefined = cursor.uint(4, "swdefined")
        cursor.zero(84, "at 44")
        modulus = cursor.take(_KEY_SIZE, "modulus")
        _constant(cursor, _EXPONENT.to_bytes(4, "little"), "exponent")
        signature = cursor.take(_KEY_SIZE, "signature")
        miscselect, misc_mask = cursor.uint(4, "miscselect"), cursor.uint(4, "misc_mask")
        cet_attributes, cet_mask = cursor.uint(1, "cet_attributes"), cursor.uint(1, "cet_mask")
        cursor.zero(2, "at 910")
        isvfamilyid = cursor.take(16, "isvfamilyid")
        attributes, attribute_mask = Attributes.read(cursor), Attributes.read(cursor)
        enclavehash = cursor.take(32, "enclavehash")
        cursor.zero(16, "at 992")
        isvextprodid = cursor.take(16, "isvextprodid")
        isvprodid, isvsvn = cursor.uint(2, "isvprodid"), cursor.uint(2, "isvsvn")
        cursor.zero(12, "at 1028")
        q1, q2 = cursor.take(_KEY_SIZE, "q1"), cursor.take(_KEY_SIZE, "q2")
        cursor.finish()
        return cls(
            vendor=vendor,
            date=date,
            swdefined=swdefined,
            modulus=modulus,
            signature=signature,
            miscselect=miscselect,
            misc_mask=misc_mask,
            cet_attributes=cet_attributes,
            cet_mask=cet_mask,
            isvfamilyid=isvfamilyid,
            attributes=attributes,
            attribute_mask=attribute_mask,
            enclavehash=enclavehash,
            isvextprodid=isvextprodid,
            isvprodid=isvprodid,
            isvsvn=isvsvn,
            q1=q1,
            q2=q2,
        )

    def build(self) -> bytes:
        """The 1808 bytes."""
        key = Writer().raw(self.modulus, _KEY_SIZE).uint(_EXPONENT, 4).raw(self.signature, _KEY_SIZE).build()
        quotients = Writer().zero(12).raw(self.q1, _KEY_SIZE).raw(self.q2, _KEY_SIZE).build()
        return self._head() + key + self._body() + quotients

    def signed_bytes(self) -> bytes:
        """What the signature covers: bytes 0 to 127 and 900 to 1027."""
        return self._head() + self._body()

    @property
    def mrsigner(self) -> bytes:
        """SHA-256 of the modulus as it stands in the structure."""
        return hashlib.sha256(self.modulus).digest()

    def sign(self, key: RSAPrivateKey) -> Self:
        """This structure with modulus, signature and quotients of an RSA-3072 key with exponent 3.

        Raises:
            Misconfigured: `signing-key` for any other key.
        """
        public = key.public_key().public_numbers()

        def local(data: bytes) -> tuple[int, int, int]:
            _check_key(public.e, public.n)
            signature = key.sign(data, padding.PKCS1v15(), SHA256())
            return public.e, public.n, int.from_bytes(signature, "big")

        return self.sign_with(local)

    def sign_with(self, signer: Signer) -> Self:
        """The same with a signer elsewhere (HSM, key vault): called with the signed bytes, it returns (e, n, s).

        Raises:
            Misconfigured: `signing-key` if the signer's key is not RSA-3072 with exponent 3.
            Unverified: `sigstruct-signature` if what it returned does not verify.
        """
        exponent, modulus, signature = signer(self.signed_bytes())
        _check_key(exponent, modulus)
        if not 0 <= signature < modulus:
            raise Unverified("sigstruct-signature", "The signer returned a number that is no signature of its key.")
        q1, rest = divmod(signature * signature, modulus)
        signed = replace(
            self,
            modulus=_little(modulus),
            signature=_little(signature),
            q1=_little(q1),
            q2=_little(rest * signature // modulus),
        )
        signed.verify()
        return signed

    def verify(self) -> None:
        """Check the signature as EINIT does: s^3 mod n by the quotients, without a division (SDM 3D, 35.14).

        Raises:
            Unverified: `sigstruct-signature`.
        """
        modulus, signature = int.from_bytes(self.modulus, "little"), int.from_bytes(self.signature, "little")
        q1, q2 = int.from_bytes(self.q1, "little"), int.from_bytes(self.q2, "little")
        square = signature * signature - q1 * modulus
        cube = square * signature - q2 * modulus
        genuine = signature < modulus and 0 <= square < modulus and 0 <= cube < modulus
        if not genuine or not hmac.compare_digest(cube.to_bytes(_KEY_SIZE, "big"), _padded(self.signed_bytes())):
            raise Unverified(
                "sigstruct-signature",
                "The SIGSTRUCT's signature does not match its content.",
                "Sign the enclave again; a SIGSTRUCT cannot be edited after signing.",
            )

    def _head(self) -> bytes:
        writer = Writer().raw(_HEADER, 16).uint(self.vendor, 4).raw(_bcd(self.date), 4)
        return writer.raw(_HEADER2, 16).uint(self.swdefined, 4).zero(84).build()

    def _body(self) -> bytes:
        writer = Writer().uint(self.miscselect, 4).uint(self.misc_mask, 4)
        writer.uint(self.cet_attributes, 1).uint(self.cet_mask, 1).zero(2).raw(self.isvfamilyid, 16)
        writer.raw(self.attributes.build(), 16).raw(self.attribute_mask.build(), 16)
        writer.raw(self.enclavehash, 32).zero(16).raw(self.isvextprodid, 16)
        return writer.uint(self.isvprodid, 2).uint(self.isvsvn, 2).build()


def _constant(cursor: Cursor, expected: bytes, name: str) -> None:
    if cursor.take(len(expected), name) != expected:
        raise Malformed(f"sigstruct-{name}", f"The SIGSTRUCT's {name} is not {expected.hex()}.")


def _check_key(exponent: int, modulus: int) -> None:
    if exponent != _EXPONENT or modulus.bit_length() != _KEY_SIZE * 8:
        raise Misconfigured(
            "signing-key",
            f"SGX takes RSA-3072 with exponent 3; this key has {modulus.bit_length()} bits and exponent {exponent}.",
            "Make one with: openssl genrsa -3 -out key.pem 3072",
        )


def _padded(data: bytes) -> bytes:
    """The PKCS #1 v1.5 block of SHA-256 over `data` (RFC 8017, 9.2)."""
    tail = b"\0" + _DIGEST_INFO + hashlib.sha256(data).digest()
    return b"\0\1" + b"\xff" * (_KEY_SIZE - 2 - len(tail)) + tail


def _little(value: int) -> bytes:
    return value.to_bytes(_KEY_SIZE, "little")


def _bcd(date: dt.date | None) -> bytes:
    return bytes.fromhex(f"{date.year:04}{date.month:02}{date.day:02}" if date else "00000000")[::-1]


def _date(data: bytes) -> dt.date | None:
    text = data[::-1].hex()
    if text == "00000000":
        return None
    try:
        return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise Malformed("sigstruct-date", f"The SIGSTRUCT's date {text} is no date in BCD.") from None
