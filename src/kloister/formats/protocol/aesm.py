"""Messages of AESM, Intel's service for quotes (linux-sgx, `messages.proto`, package aesm.message).

One connection holds one frame each way: u32 little-endian length, then a `Request` or `Response`, which is a message
with one embedded message whose field number says what is asked for. Sizes are in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from kloister.errors import Malformed
from kloister.formats.protocol.aesm_codes import AesmCode
from kloister.formats.wire import Cursor, Writer
from kloister.formats.wire.protobuf import Field, Kind, Value, embed, fields, read, write

PREFIX = 4  # bytes of a frame's length
REQUEST_LIMIT = 16 * 1024  # bytes of a request: ten key ids, or a report and what goes with it, take less than 3 KiB
RESPONSE_LIMIT = 1 << 20  # bytes of a response: a quote in a buffer that the client may choose generously
KEY_ID_SIZE = 256  # sgx_att_key_id_ext_t
KEY_ID_COMPARED = 158  # its first part, sgx_ql_att_key_id_t, names the key; the rest is for EPID
QE_REPORT_INFO_SIZE = 960  # nonce 16, TARGETINFO of the asker 512, REPORT of the QE 432
QUOTE_SIZE_AT = 432  # offset of a quote's u32 with the bytes that follow it
_MOST_KEY_IDS = 10  # of one list; SGX_MAX_ATT_KEY_IDS
_WHAT = "aesm"
_ECDSA_P256 = 2
_QE_MRSIGNER = bytes.fromhex("8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff")


def _ecdsa_p256() -> bytes:
    w = Writer().uint(0, 2).uint(0, 2).uint(32, 2).raw(_QE_MRSIGNER, 32).zero(16)  # id, version, MRSIGNER and its size
    w.uint(1, 4).zero(16).zero(64).zero(16).uint(_ECDSA_P256, 4)  # ISVPRODID, ISVEXTPRODID, CONFIGID, ISVFAMILYID
    return w.build().ljust(KEY_ID_SIZE, b"\0")


ECDSA_P256 = _ecdsa_p256()
"""The key id of DCAP's quotes. Clients have it built in, so a simulated quoting enclave goes by this one too."""

_TIMEOUT = Field(9, "timeout", Kind.UINT32)
_CODE = Field(1, "code", Kind.UINT32, required=True)


@dataclass(frozen=True, slots=True)
class InitQuote:
    """Who reports are to be made for, and the attestation key's name: once, before the first quote."""

    NUMBER: ClassVar = 15
    FIELDS: ClassVar = (
        Field(1, "key_id", Kind.BYTES),
        Field(3, "want_key", Kind.BOOL, required=True),
        Field(4, "size", Kind.UINT64),
        _TIMEOUT,
    )
    key_id: bytes | None  # of the attestation key wanted
    want_key: bool  # whether the key's name is wanted, not only its size
    size: int | None = None  # of the caller's buffer for it
    timeout: int | None = None  # microseconds that the client waits


@dataclass(frozen=True, slots=True)
class QuoteSize:
    """How large a quote will be."""

    NUMBER: ClassVar = 16
    FIELDS: ClassVar = (Field(1, "key_id", Kind.BYTES), _TIMEOUT)
    key_id: bytes | None
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class GetQuote:
    """A quote for a REPORT that was made for the quoting enclave."""

    NUMBER: ClassVar = 17
    FIELDS: ClassVar = (
        Field(1, "report", Kind.BYTES, required=True),
        Field(2, "key_id", Kind.BYTES),
        Field(3, "qe_report_info", Kind.BYTES),
        Field(4, "size", Kind.UINT32, required=True),
        _TIMEOUT,
    )
    report: bytes  # 432
    key_id: bytes | None
    qe_report_info: bytes | None = None
    size: int = 0  # of the caller's buffer for the quote
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class SelectKey:
    """Which key of the caller's list is to be used."""

    NUMBER: ClassVar = 19
    FIELDS: ClassVar = (Field(1, "ids", Kind.BYTES), Field(2, "timeout", Kind.UINT32))
    ids: bytes | None = None  # u16 id, u16 version, u32 number, then key ids; all that there are if absent
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class KeyNumber:
    """How many keys there are."""

    NUMBER: ClassVar = 21
    FIELDS: ClassVar = (_TIMEOUT,)
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class KeyIds:
    """Their ids."""

    NUMBER: ClassVar = 22
    FIELDS: ClassVar = (Field(1, "size", Kind.UINT32), _TIMEOUT)
    size: int | None  # of the caller's buffer
    timeout: int | None = None


class Legacy(IntEnum):
    """Requests of EPID, launch tokens, white lists and updates: they are known and not served."""

    INIT_QUOTE = 1
    GET_QUOTE = 2
    GET_LAUNCH_TOKEN = 3
    REPORT_ATTESTATION_ERROR = 4
    GET_WHITE_LIST_SIZE = 10
    GET_WHITE_LIST = 11
    GET_EXTENDED_GROUP = 12
    SWITCH_EXTENDED_GROUP = 13
    REGISTER = 14
    CHECK_UPDATE = 18


UNSUPPORTED = 20
"""The number of the response to a request that is none of these."""

Asked = InitQuote | QuoteSize | GetQuote | SelectKey | KeyNumber | KeyIds
Request = Asked | Legacy

_ASKED: dict[int, type[Asked]] = {
    each.NUMBER: each for each in (InitQuote, QuoteSize, GetQuote, SelectKey, KeyNumber, KeyIds)
}
_LEGACY = {int(each): each for each in Legacy}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to request `number`; which of the others are there follows from it."""

    number: int
    code: int = AesmCode.SUCCESS
    target_info: bytes | None = field(default=None, repr=False)  # 512, who reports are to be made for
    key_size: int | None = None  # of the attestation key's name
    key: bytes | None = None  # its name, 32
    quote: bytes | None = field(default=None, repr=False)  # padded to the caller's buffer
    qe_report_info: bytes | None = field(default=None, repr=False)
    key_ids: bytes | None = field(default=None, repr=False)  # one selected, or all that there are
    count: int | None = None  # a quote's size, or how many keys there are


_ANSWERS: dict[int, tuple[Field, ...]] = {
    InitQuote.NUMBER: (
        _CODE,
        Field(2, "target_info", Kind.BYTES),
        Field(3, "key_size", Kind.UINT64),
        Field(4, "key", Kind.BYTES),
    ),
    QuoteSize.NUMBER: (_CODE, Field(2, "count", Kind.UINT32)),
    GetQuote.NUMBER: (_CODE, Field(2, "quote", Kind.BYTES), Field(3, "qe_report_info", Kind.BYTES)),
    SelectKey.NUMBER: (_CODE, Field(2, "key_ids", Kind.BYTES)),
    KeyNumber.NUMBER: (_CODE, Field(2, "count", Kind.UINT32)),
    KeyIds.NUMBER: (_CODE, Field(2, "key_ids", Kind.BYTES)),
    **{int(each): (_CODE,) for each in (*Legacy, UNSUPPORTED)},
}


def frame(body: bytes) -> bytes:
    """A message behind its length."""
    return len(body).to_bytes(PREFIX, "little") + body


def frame_size(prefix: bytes, limit: int) -> int:
    """The length that a frame of at most `limit` bytes announces. Raises `Malformed` (`aesm-size`)."""
    size = int.from_bytes(prefix[:PREFIX], "little")
    if not 0 < size <= limit:
        raise Malformed("aesm-size", f"A frame announces {size} bytes; 1 to {limit} are read.")
    return size


def request_number(body: bytes) -> int:
    """The number under which a message is answered before it is read: its own, or `UNSUPPORTED`."""
    try:
        number = _only(body)[0]
    except Malformed:
        return UNSUPPORTED
    return number if number in _ASKED or number in _LEGACY else UNSUPPORTED


def number_of(request: Request) -> int:
    """The number of a request, which is that of its answer."""
    return int(request) if isinstance(request, Legacy) else request.NUMBER


def parse_request(body: bytes) -> Request:
    """The request in a frame.

    Raises:
        Malformed: `aesm-*`; `aesm-unsupported` for a request that does not exist.
    """
    number, inner = _only(body)
    if number in _LEGACY:
        return _LEGACY[number]
    asked = _ASKED.get(number)
    if asked is None:
        raise Malformed("aesm-unsupported", f"AESM has no request {number}.", "Use a client of DCAP (the Ex calls).")
    return asked(**read(inner, asked.FIELDS, _WHAT))  # type: ignore[arg-type]  # the schema names the fields' types


def build_request(request: Request) -> bytes:
    """The message of a request, without its frame; of a legacy one its kind alone."""
    inner = b"" if isinstance(request, Legacy) else write(_values(request), request.FIELDS)
    return embed(number_of(request), inner)


def parse_answer(body: bytes) -> Answer:
    """The answer in a frame. Raises `Malformed`: `aesm-*`."""
    number, inner = _only(body)
    schema = _ANSWERS.get(number)
    if schema is None:
        raise Malformed("aesm-unsupported", f"AESM has no response {number}.")
    return Answer(number, **read(inner, schema, _WHAT))  # type: ignore[arg-type]  # as above


def build_answer(answer: Answer) -> bytes:
    """The message of an answer, without its frame."""
    schema = _ANSWERS[answer.number]
    return embed(answer.number, write({each.name: getattr(answer, each.name) for each in schema}, schema))


def parse_key_ids(data: bytes) -> tuple[bytes, ...]:
    """The key ids of a `SelectKey` list. Raises `Malformed`: `aesm-truncated`, `aesm-trailing`, `aesm-key-list`."""
    cursor = Cursor(data, _WHAT)
    kind, version, number = cursor.uint(2, "id"), cursor.uint(2, "version"), cursor.uint(4, "number")
    if kind or version or not 0 < number <= _MOST_KEY_IDS:
        raise Malformed("aesm-key-list", f"A list of key ids has version 0 and 1 to {_MOST_KEY_IDS} of them.")
    ids = tuple(cursor.take(KEY_ID_SIZE, "key id") for _ in range(number))
    cursor.finish()
    return ids


def is_ecdsa_p256(key_id: bytes) -> bool:
    """Whether a key id, as AESM compares them, is that of DCAP's quotes."""
    return key_id[:KEY_ID_COMPARED] == ECDSA_P256[:KEY_ID_COMPARED]


def _values(request: Asked) -> dict[str, Value | None]:
    return {each.name: getattr(request, each.name) for each in request.FIELDS}


def _only(body: bytes) -> tuple[int, bytes]:
    found = list(fields(body, _WHAT))
    if len(found) != 1 or not isinstance(found[0][1], bytes):
        raise Malformed("aesm-request", "A message of AESM holds one request or response.")
    return found[0][0], found[0][1]
