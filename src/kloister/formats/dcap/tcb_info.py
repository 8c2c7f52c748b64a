"""TCB info: which SVNs of a platform family count as what. Source: Intel PCS API v3 (version 2) and v4 (version 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.dcap.document import MAX_LEVELS, Document
from kloister.formats.dcap.qe_identity import QeLevel
from kloister.formats.dcap.status import TcbStatus

_WHAT = "tcb-info"
COMPONENTS = 16
MAX_MODULES = 100  # identities of TDX modules; Intel's documents have about three
_V2, _V3 = 2, 3
_U16, _U32 = 0xFFFF, 0xFFFFFFFF
_TDX = "TDX"
_FLAT = tuple(f"sgxtcbcomp{index:02d}svn" for index in range(1, COMPONENTS + 1))
STATUSES = frozenset(TcbStatus) - {TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED}


@dataclass(frozen=True, slots=True)
class Component:
    """What one of the 16 components is, in Intel's words (version 3); empty where the document does not say."""

    category: str  # for instance "BIOS" or "OS/VMM"
    type: str  # for instance "Early Microcode Update"


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """One level: the smallest SVNs that reach it, and what reaching it means."""

    components: tuple[int, ...]  # 16 SVNs 0..255
    pcesvn: int
    tdx_components: tuple[int, ...] | None  # 16; a level without them is reached by no trust domain
    status: TcbStatus
    date: datetime
    advisories: tuple[str, ...]
    listed: Document = field(repr=False, compare=False)  # the components as they stand there; empty in version 2

    @classmethod
    def read(cls, level: Document, version: int) -> Self:
        """Read one entry of `tcbLevels`."""
        tcb, flat = level.object("tcb"), version == _V2
        listed = Document({}, tcb.what) if flat else tcb  # lists in version 2 would be nobody's: they are not looked at
        return cls(
            _flat(tcb) if flat else _components(listed, "sgxtcbcomponents"),
            tcb.number("pcesvn", _U16),
            _components(listed, "tdxtcbcomponents") if "tdxtcbcomponents" in listed.fields else None,
            level.status("tcbStatus", STATUSES),
            level.date("tcbDate"),
            level.advisories(),
            listed,
        )

    def described(self, *, tdx: bool = False) -> tuple[Component, ...]:
        """What the 16 components are, for explanations; nothing is judged by it. Empty for version 2."""
        listed = self.listed.fields.get("tdxtcbcomponents" if tdx else "sgxtcbcomponents", [])
        return tuple(Component(_words(each, "category"), _words(each, "type")) for each in listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxModule:
    """A TDX module that is Intel's: `tdxModule` (version 0, without levels) or one of `tdxModuleIdentities`."""

    id: str  # "TDX_01", upper case; empty for `tdxModule`
    mrsigner: bytes  # 48
    attributes: bytes  # 8
    attributes_mask: bytes  # 8
    levels: tuple[QeLevel, ...] = field(default=(), repr=False)  # descending

    @classmethod
    def read(cls, module: Document, name: str = "") -> Self:
        """Read one object; an identity (with a name) has levels, whose statuses are those of a QE's."""
        levels = [QeLevel.read(level) for level in module.objects("tcbLevels", MAX_LEVELS)] if name else []
        return cls(
            id=name.upper(),
            mrsigner=module.hex("mrsigner", 48),
            attributes=module.hex("attributes", 8),
            attributes_mask=module.hex("attributesMask", 8),
            levels=tuple(sorted(levels, key=lambda level: level.isvsvn, reverse=True)),
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
    tdx_module: TdxModule | None = None  # for domains whose TEE_TCB_SVN[1] is 0
    tdx_modules: tuple[TdxModule, ...] = ()  # for all others, by `TDX_` and that number

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
        name = "SGX" if version == _V2 else document.text("id")
        levels = [TcbLevel.read(level, version) for level in document.objects("tcbLevels", MAX_LEVELS)]
        return cls(
            text=text,
            id=name,
            version=version,
            issue_date=document.date("issueDate"),
            next_update=document.date("nextUpdate"),
            fmspc=document.hex("fmspc", 6),
            pceid=document.hex("pceId", 2),
            evaluation_number=document.number("tcbEvaluationDataNumber", _U32),
            levels=tuple(sorted(levels, key=_height, reverse=True)),
            tdx_module=_module(document) if name == _TDX else None,
            tdx_modules=_modules(document) if name == _TDX else (),
        )


def _height(level: TcbLevel) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    return level.components, level.pcesvn, level.tdx_components or ()


def _flat(tcb: Document) -> tuple[int, ...]:
    return _svns([tcb.fields.get(name) for name in _FLAT], tcb, "sgxtcbcompNNsvn")


def _components(tcb: Document, name: str) -> tuple[int, ...]:
    listed = tcb.items(name, COMPONENTS)
    try:
        return _svns([component["svn"] for component in listed], tcb, name)
    except (KeyError, TypeError, IndexError):
        raise tcb.unfit(name) from None


def _svns(values: list[Any], tcb: Document, name: str) -> tuple[int, ...]:
    """16 numbers from 0 to 255, checked in one go: a document has hundreds."""
    if len(values) != COMPONENTS or set(map(type, values)) != {int} or min(values) < 0 or max(values) > 0xFF:  # noqa: PLR2004 -- one byte
        raise tcb.unfit(name)
    return tuple(values)


def _module(document: Document) -> TdxModule | None:
    return TdxModule.read(document.object("tdxModule")) if "tdxModule" in document.fields else None


def _modules(document: Document) -> tuple[TdxModule, ...]:
    if "tdxModuleIdentities" not in document.fields:
        return ()
    found = document.objects("tdxModuleIdentities", MAX_MODULES)
    return tuple(TdxModule.read(module, module.text("id")) for module in found)


def _words(component: dict[str, Any], name: str) -> str:
    value = component.get(name)
    return value if isinstance(value, str) else ""
