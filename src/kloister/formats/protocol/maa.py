"""Requests of Azure Attestation's clients (data plane 2018-09-01-preview to 2026-03-11-preview).

Clients in the field write bytes as base64url or base64, with or without padding, spell `dataType` in either case, send
a nonce as a number, and an init time object without data; all of that is read. Unknown members are left alone.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from kloister.errors import Malformed, Unverified
from kloister.formats.wire import is_unicode, load_json

MAX_REQUEST = 1024 * 1024  # bytes of a body; quotes have 5 KiB, SNP evidence 10, runtime data some
_MAX_NONCE = 1024  # characters
_MAX_DEPTH = 64  # of JSON data, as .NET reads by default, which Azure's service and clients run on
_U64 = 1 << 64
_BOUND = 32  # bytes of report data that hold the hash
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class DataType(StrEnum):
    """How a client wants its data in the token: as opaque bytes, or as the JSON value that they are."""

    BINARY = "binary"
    JSON = "json"


_DATA_TYPES = {str(each): each for each in DataType}


@dataclass(frozen=True, slots=True)
class ClientData:
    """Runtime or init time data: the exact bytes that the evidence binds by their SHA-256."""

    type: DataType
    data: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The value of JSON data.

        Raises:
            Malformed: `client-data-json`, also for fractions beyond every float and more than 64 levels.
        """
        value = load_json(self.data, "client-data", MAX_REQUEST)
        if not _fits(value):
            raise Malformed(
                "client-data-json", f"The client's data has a number too large, or more than {_MAX_DEPTH} levels."
            )
        return value

    def check_bound(self, bound: bytes, what: str) -> None:
        """Return if `bound` (at least 32 bytes, the rest is left alone) starts with the data's SHA-256.

        Raises:
            Unverified: `client-data-binding`.
        """
        if not hmac.compare_digest(hashlib.sha256(self.data).digest(), bound[:_BOUND]):
            raise Unverified(
                "client-data-binding",
                f"The SHA-256 of the {what} is not what the evidence binds.",
                "Put the hash of exactly these bytes into the first 32 bytes before the evidence is made.",
            )


@dataclass(frozen=True, slots=True)
class AttestRequest:
    """What a client asks to be attested; nothing about it has been verified."""

    evidence: bytes = field(repr=False)
    runtime: ClientData | None = field(default=None, repr=False)
    inittime: ClientData | None = field(default=None, repr=False)
    nonce: str | int | None = None  # copied into the token as it came
    draft: str | None = field(default=None, repr=False)  # a policy's text, to be tried instead of the stored one

    @classmethod
    def parse(cls, body: bytes, member: str) -> Self:
        """Read a body whose evidence stands in `member` (`quote` or `report`).

        Raises:
            Malformed: `attest-request-json`, `attest-request-size`, `attest-request-field`.
        """
        return cls.of(read_object(body), member)

    @classmethod
    def of(cls, document: Mapping[str, Any], member: str, evidence: bytes | None = None) -> Self:
        """The same from the document; `evidence` is what the member's text says, where the caller knows it.

        Raises:
            Malformed: `attest-request-field`.
        """
        inittime, nonce = document.get("initTimeData"), document.get("nonce")
        return cls(
            decode(evidence_text(document, member), member) if evidence is None else evidence,
            _runtime(document),
            None if inittime is None else _client_data(inittime, "initTimeData", lenient=True),
            None if nonce is None else _nonce(nonce),
            _text(document.get("draftPolicyForAttestation"), "draftPolicyForAttestation"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpEvidence:
    """The `report` of SevSnpVm: a JSON object of the report and the certificates of its key, VCEK first."""

    report: bytes = field(repr=False)
    certificates: bytes = field(repr=False)  # PEM

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `Malformed`: `attest-request-json`, `attest-request-field`."""
        document = read_object(data)
        parts = {name: document.get(name) for name in ("SnpReport", "VcekCertChain")}
        for name, part in parts.items():
            if not isinstance(part, str):
                raise _unfit(name)
        return cls(
            report=decode(str(parts["SnpReport"]), "SnpReport"),
            certificates=decode(str(parts["VcekCertChain"]), "VcekCertChain"),
        )


def decode(text: str, name: str) -> bytes:
    """Bytes from base64 or base64url, with or without padding. Raises `Malformed`: `attest-request-field`."""
    try:
        bare = text.encode("ascii").translate(_TO_STANDARD, b"=\r\n")
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:  # also binascii.Error and UnicodeEncodeError
        raise Malformed("attest-request-field", f"The member {name} is neither base64url nor base64.") from None


def evidence_text(document: Mapping[str, Any], member: str) -> str:
    """The evidence of a request as it came. Raises `Malformed`: `attest-request-field`."""
    text = document.get(member)
    if text is None and member not in document:
        text = document.get("Quote")  # 2018-09-01-preview
    if not isinstance(text, str) or not text:
        raise _unfit(member)
    return text


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `Malformed`: `attest-request-json`, `attest-request-size`, `attest-request-field`."""
    document = load_json(body, "attest-request", MAX_REQUEST)
    if not isinstance(document, dict):
        raise Malformed("attest-request-field", "The body is not a JSON object.")
    return document


def _runtime(document: Mapping[str, Any]) -> ClientData | None:
    held = document.get("EnclaveHeldData")  # 2018-09-01-preview
    if isinstance(held, str) and "runtimeData" not in document:
        return ClientData(DataType.BINARY, decode(held, "EnclaveHeldData"))
    return _client_data(document.get("runtimeData"), "runtimeData", lenient=False)


def _client_data(value: Any, name: str, *, lenient: bool) -> ClientData | None:
    """`lenient`: an object without data counts as none, as the Python SDK sends it for `inittime_json`."""
    if value is None or (lenient and isinstance(value, dict) and value.get("data") is None):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("data"), str):
        raise _unfit(name)
    kind = _DATA_TYPES.get(str(value.get("dataType", "")).lower())
    if kind is None:
        raise Malformed("attest-request-field", f"The dataType of {name} is neither Binary nor JSON.")
    return ClientData(kind, decode(value["data"], name))


def _nonce(value: Any) -> str | int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _U64:
        return value
    nonce = _text(value, "nonce")
    if nonce is not None and len(nonce) > _MAX_NONCE:
        raise _unfit("nonce")
    return nonce


def _text(value: Any, name: str) -> str | None:
    if value is None or (isinstance(value, str) and is_unicode(value)):
        return value
    raise _unfit(name)


def _fits(value: Any) -> bool:
    """Level by level, not by recursion: what nests too deep must not end in the interpreter's own limit."""
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        if any(isinstance(one, float) and abs(one) == float("inf") for one in level):
            return False
        parts = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        if not parts:
            return True
        level = [one for part in parts for one in part]
    return False


def _unfit(name: str) -> Malformed:
    return Malformed("attest-request-field", f"The member {name} is missing or is not what it must be.")
