"""TCB info: which SVNs of a platform family count as what. Source: Intel PCS API v3 (version 2) and v4 (version 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from kloister.errors import Malformed
from kloister.formats.dcap.document import MAX_LEVELS, Document
from kloister.formats.dcap.status import TcbStatus

_WHAT = "tcb-info"
COMPONENTS = 16
_V2, _V3 = 2, 3
_U8, _U16, _U32 = 0xFF, 0xFFFF, 0xFFFFFFFF
STATUSES = frozenset(TcbStatus) - {TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbLevel:
    """One level: the smallest SVNs that reach it, and what reaching it means."""

    components: tuple[int, ...]  # 16 SVNs 0..255
    pcesvn: int
    tdx_components: tuple[int, ...] | None = None
    status: TcbStatus
    date: datetime
    advisories: tuple[str, ...]

    @classmethod
    def read(cls, level: Document, version: int) -> Self:
        """Read one entry of `tcbLevels`."""
        tcb = level.object("tcb")
        return cls(
            components=_flat(tcb) if version == _V2 else _components(tcb, "sgxtcbcomponents"),
            pcesvn=tcb.number("pcesvn", _U16),
            tdx_components=_components(tcb, "tdxtcbcomponents") if "tdxtcbcomponents" in tcb.fields else None,
            status=level.status("tcbStatus", STATUSES),
            date=level.date("tcbDate"),
            advisories=level.advisories(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfo:
    """The document; `text` is exactly what was signed. Levels stand in descending order of their SVNs."""

    text: str = field(repr=False)
    id: str  # "SGX" or "TDX"; version 2 is SGX only and does not say so
    version: int
    issue_date: datetime
    next_update: datetime
    fmspc: bytes  # 6
    pceid: bytes  # 2
    evaluation_number: int
    levels: tuple[TcbLevel, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the inner JSON object, whose signature the caller has checked.

        Raises:
            Malformed: `tcb-info-size`, `tcb-info-json`, `tcb-info-field`, `tcb-info-version`.
        """
        document = Document.load(text, _WHAT)
        version = document.number("version", _U32)
        if version not in (_V2, _V3):
            raise Malformed("tcb-info-version", f"TCB info of version {version} is not known; 2 and 3 are.")
        document.number("tcbType", 0)  # 0 is the only meaning of the components that exists
        levels = [TcbLevel.read(level, version) for level in document.objects("tcbLevels", MAX_LEVELS)]
        return cls(
            text=text,
            id="SGX" if version == _V2 else document.text("id"),
            version=version,
            issue_date=document.date("issueDate"),
            next_update=document.date("nextUpdate"),
            fmspc=document.hex("fmspc", 6),
            pceid=document.hex("pceId", 2),
            evaluation_number=document.number("tcbEvaluationDataNumber", _U32),
            levels=tuple(sorted(levels, key=_height, reverse=True)),
        )


def _height(level: TcbLevel) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    return level.components, level.pcesvn, level.tdx_components or ()


def _flat(tcb: Document) -> tuple[int, ...]:
    return tuple(tcb.number(f"sgxtcbcomp{index:02d}svn", _U8) for index in range(1, COMPONENTS + 1))


def _components(tcb: Document, name: str) -> tuple[int, ...]:
    components = tcb.objects(name, COMPONENTS)
    if len(components) != COMPONENTS:
        raise tcb.unfit(name)
    return tuple(component.number("svn", _U8) for component in components)
