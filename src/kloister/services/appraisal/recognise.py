"""Tells what a piece of evidence is by its first bytes, and takes the quote out of what is wrapped around it."""

from __future__ import annotations

import base64
import binascii
import re

from kloister.errors import Malformed
from kloister.formats.ratls import Form as CertificateForm
from kloister.formats.ratls import RatlsCertificate
from kloister.formats.snp import SnpReport
from kloister.formats.snp.hcl import MAGIC as HCL_MAGIC
from kloister.formats.snp.report import VERSIONS as SNP_VERSIONS
from kloister.formats.tokens.reading import Form
from kloister.services.appraisal.envelopes import token_form
from kloister.services.appraisal.kbs import open_kbs
from kloister.services.appraisal.kinds import SNP_KINDS, TOKEN_KINDS, Evidence, Kind, Vouched
from kloister.trust.verifier.binding import RatlsBinding

__all__ = [
    "MAX_SIZE",
    "SNP_KINDS",
    "TOKEN_KINDS",
    "Evidence",
    "Kind",
    "Vouched",
    "identify",
    "recognise",
    "unwrap",
    "vouched_by",
]

MAX_SIZE = 1024 * 1024  # bytes: a quote of the largest size, in hexadecimal with line breaks, fits several times
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]+")
_HEX = re.compile(rb"(?:0[xX])?(?:[0-9A-Fa-f]{2})+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")
_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
_DER = re.compile(rb"\x30[\x81-\x84]")  # a SEQUENCE of more than 127 bytes; a quote starts with its version
_WANTED = (
    "Give a quote or SNP report (raw, hexadecimal, base64), an RA-TLS certificate, KBS evidence, a token, or "
    "https://HOST:PORT."
)


_TOKENS = {Form.MAA: Kind.MAA_TOKEN, Form.EAR: Kind.EAR_TOKEN, Form.OTHER: Kind.TOKEN}


def recognise(data: bytes) -> Evidence:
    """The quote in evidence of any kind that is known.

    Raises:
        Malformed: the codes of `identify` and `unwrap`.
    """
    return unwrap(*identify(data))


def identify(data: bytes) -> tuple[Kind, bytes]:
    """What it is, and its bytes without transport encoding: hexadecimal, base64 of either alphabet, white space, `0x`.

    Raises:
        Malformed: `evidence-size`, `evidence-empty`, `evidence-not-supported`, `evidence-unknown`.
    """
    if len(data) > MAX_SIZE:
        raise Malformed("evidence-size", f"The evidence has more than {MAX_SIZE} bytes; no quote has.")
    if not data.strip():
        raise Malformed("evidence-empty", "The evidence is empty.")
    if not _TEXT.fullmatch(data):
        return _binary(data)
    text = data.strip()
    if text.startswith(b"-----BEGIN CERTIFICATE"):
        return Kind.RATLS_CERTIFICATE, text
    if _TOKEN.fullmatch(text):
        return _TOKENS[token_form(text)], text
    if text.startswith(b"{"):
        return Kind.KBS_EVIDENCE, text
    _refuse(text)
    return _binary(_decode(b"".join(data.split())))


def vouched_by(kind: Kind, data: bytes) -> Vouched:
    """What it takes to judge what `identify` found. Raises as `unwrap`."""
    if kind in TOKEN_KINDS:
        return Vouched.KEYS
    inner = unwrap(kind, data).inner
    return Vouched.ENDORSEMENT if inner in SNP_KINDS else Vouched.COLLATERAL


def unwrap(kind: Kind, data: bytes) -> Evidence:
    """The quote inside what `identify` found.

    Raises:
        Malformed: `evidence-not-supported`, `kbs-evidence`, `kbs-evidence-json`, `ratls-*`, `oe-report-header`.
    """
    if kind in TOKEN_KINDS:
        raise Malformed("evidence-not-supported", "This is a token about evidence, which holds no quote.", _WANTED)
    if kind is Kind.RATLS_CERTIFICATE:
        certificate = RatlsCertificate.parse(data)
        if certificate.evidence.form is CertificateForm.OPEN_ENCLAVE:
            kind = Kind.SIGNING_CERTIFICATE
        return Evidence(kind, certificate.evidence.quote, binding=RatlsBinding(certificate))
    if kind is Kind.KBS_EVIDENCE:
        return open_kbs(data)
    return Evidence(kind, data, kind)


def _binary(data: bytes) -> tuple[Kind, bytes]:
    if data.startswith(HCL_MAGIC):
        return Kind.AZURE_HCL, data
    if _looks_like_snp(data):
        return Kind.SNP_REPORT, data
    if _DER.match(data):
        return Kind.RATLS_CERTIFICATE, data
    if data[1:2] != b"\0":  # the upper half of a quote's version
        raise _unknown("it starts like no quote, report or certificate")
    return Kind.QUOTE, data


def _looks_like_snp(data: bytes) -> bool:
    """A report starts with a version of 32 bits; in a quote the key type, which is not 0, stands in the upper half."""
    version = int.from_bytes(data[:4], "little")
    return data[2:4] == b"\0\0" and (version in SNP_VERSIONS or len(data) == SnpReport.SIZE)


def _refuse(text: bytes) -> None:
    what = ""
    if text.startswith(b"-----BEGIN"):
        what = "a key or another thing in PEM"
    elif text.startswith(b"https://"):
        what = "the address of a server in a file"
    elif text.startswith(b"["):
        what = "a list in JSON"
    if what:
        raise Malformed("evidence-not-supported", f"This is {what}, which is no evidence.", _WANTED)


def _decode(text: bytes) -> bytes:
    if _HEX.fullmatch(text):
        return binascii.unhexlify(text[2:] if text[:2].lower() == b"0x" else text)
    if _BASE64.fullmatch(text):
        bare = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
        except binascii.Error:
            pass
    raise _unknown("neither raw bytes, hexadecimal, nor base64")


def _unknown(why: str) -> Malformed:
    return Malformed("evidence-unknown", f"This is no evidence that is known: {why}.", _WANTED)
