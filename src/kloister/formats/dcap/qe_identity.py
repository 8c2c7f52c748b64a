"""QE identity: which quoting enclaves are Intel's. Source: Intel PCS API v3 and v4, enclave identity version 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from kloister.errors import Malformed
from kloister.formats.dcap.document import MAX_LEVELS, Document
from kloister.formats.dcap.status import TcbStatus

_WHAT = "qe-identity"
_VERSION = 2
_U16, _U32 = 0xFFFF, 0xFFFFFFFF
STATUSES = frozenset({TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED})  # the schema's three


@dataclass(frozen=True, slots=True)
class QeLevel:
    """One level: the smallest ISVSVN that reaches it, and what reaching it means."""

    isvsvn: int
    status: TcbStatus
    date: datetime
    advisories: tuple[str, ...]

    @classmethod
    def read(cls, level: Document) -> Self:
        """Read one entry of `tcbLevels`."""
        svn = level.object("tcb").number("isvsvn", _U16)
        return cls(svn, level.status("tcbStatus", STATUSES), level.date("tcbDate"), level.advisories())


@dataclass(frozen=True, slots=True, kw_only=True)
class QeIdentity:
    """The document; `text` is exactly what was signed. Levels stand in descending order of ISVSVN."""

    text: str = field(repr=False)
    id: str  # "QE" for SGX, "TD_QE" for TDX
    issue_date: datetime
    next_update: datetime
    evaluation_number: int
    miscselect: int  # u32; the JSON holds its big-endian text
    miscselect_mask: int
    attributes: bytes  # 16, in the order of the report
    attributes_mask: bytes
    mrsigner: bytes  # 32
    isvprodid: int
    levels: tuple[QeLevel, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the inner JSON object, whose signature the caller has checked.

        Raises:
            Malformed: `qe-identity-size`, `qe-identity-json`, `qe-identity-field`, `qe-identity-version`.
        """
        document = Document.load(text, _WHAT)
        version = document.number("version", _U32)
        if version != _VERSION:
            raise Malformed("qe-identity-version", f"QE identity of version {version} is not known; {_VERSION} is.")
        levels = [QeLevel.read(level) for level in document.objects("tcbLevels", MAX_LEVELS)]
        return cls(
            text=text,
            id=document.text("id"),
            issue_date=document.date("issueDate"),
            next_update=document.date("nextUpdate"),
            evaluation_number=document.number("tcbEvaluationDataNumber", _U32),
            miscselect=int.from_bytes(document.hex("miscselect", 4), "big"),
            miscselect_mask=int.from_bytes(document.hex("miscselectMask", 4), "big"),
            attributes=document.hex("attributes", 16),
            attributes_mask=document.hex("attributesMask", 16),
            mrsigner=document.hex("mrsigner", 32),
            isvprodid=document.number("isvprodid", _U16),
            levels=tuple(sorted(levels, key=lambda level: level.isvsvn, reverse=True)),
        )
