"""Why a platform has its status: the matched levels, how far each part is from the next better one, what to update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kloister.formats.dcap import QeLevel, TcbInfo, TcbLevel, TcbStatus
from kloister.trust.evidence import TcbBasis, UnsupportedBasis

_BEST_FIRST = (
    TcbStatus.UP_TO_DATE,
    TcbStatus.SW_HARDENING_NEEDED,
    TcbStatus.CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TcbStatus.OUT_OF_DATE,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.REVOKED,
)
_RANK = {status: rank for rank, status in enumerate(_BEST_FIRST)}
_V2 = 2  # of TCB info, without categories
_MODULE_COMPONENTS = 2  # TEE_TCB_SVN[0..1] are judged by the module's own identity where it has one
# What to do, by words of the component's type and then of its category (TCB info version 3)
_UPDATES = (
    ("Early Microcode", "Update the BIOS: it brings the microcode that is loaded first."),
    ("Late Microcode", "Load newer microcode from the operating system (its microcode package), or update the BIOS."),
    ("SINIT", "Update the TXT SINIT module (BIOS, or a package of the operating system)."),
    ("SEAMLDR", "Update the SEAM loader (BIOS, or a package of the host's operating system)."),
    ("TDX Module", "Update the TDX module (a package of the host's operating system, or BIOS)."),
    ("BIOS", "Update the BIOS."),
    ("OS/VMM", "Update the host's operating system or hypervisor."),
)
_UNKNOWN = "Update BIOS and microcode; the TCB info does not say what this component is."
_PCE = "Update the PCE (Intel's DCAP packages, or the provider's)."
_QE = "Update the quoting enclave (Intel's DCAP packages, or the provider's)."
_OLDER = "The platform is below the lowest level: Intel judges nothing that is older."
_RELAUNCH = "Start the trust domain again: the platform has been updated since it was launched."
_MODULE = "Update the TDX module (a package of the host's operating system, or BIOS)."


@dataclass(frozen=True, slots=True)
class Level:
    """A level of TCB info, QE identity or module identity."""

    status: TcbStatus
    date: datetime
    advisories: tuple[str, ...]

    @classmethod
    def of(cls, level: TcbLevel | QeLevel) -> Level:
        """The words of a level, without its numbers."""
        return cls(level.status, level.date, level.advisories)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"status": self.status, "date": f"{self.date:%Y-%m-%d}", "advisories": list(self.advisories)}


@dataclass(frozen=True, slots=True)
class Part:
    """One security version number.

    Attributes:
        name: which one, for instance `SGX component 1`, counted from 1 as Intel does.
        category, type: what it is, in Intel's words; empty where the TCB info does not say.
        have: the platform's.
        matched: what the matched level asks for.
        needed: what the next better level asks for, None where there is none.
        update: what raises it.
    """

    name: str
    category: str
    type: str
    have: int
    matched: int
    needed: int | None
    update: str

    @property
    def short(self) -> int:
        """How far it is from the next better level."""
        return 0 if self.needed is None else max(0, self.needed - self.have)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "category": self.category,
            "type": self.type,
            "have": self.have,
            "matched": self.matched,
            "needed": self.needed,
            "short": self.short,
            "update": self.update if self.short else "",
        }


@dataclass(frozen=True, slots=True)
class Matched:
    """One of the things that are matched against levels: the platform, its quoting enclave, a TDX module."""

    name: str
    level: Level
    position: int  # of the matched level, 1 is the highest; 0: below all, and `level` is the lowest
    levels: int
    next: Level | None  # the nearest better one
    parts: tuple[Part, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "level": {**self.level.as_json(), "position": self.position, "of": self.levels},
            "next": None if self.next is None else self.next.as_json(),
            "parts": [part.as_json() for part in self.parts],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that a TCB status follows from."""

    fmspc: str
    version: int  # of the TCB info
    evaluation_number: int
    issued: datetime
    next_update: datetime
    matched: tuple[Matched, ...]
    notes: tuple[str, ...]
    relaunch: bool = False  # a trust domain runs on an older platform than the one there is

    @property
    def updates(self) -> tuple[str, ...]:
        """What to do, each once, in the order of the parts."""
        parts = dict.fromkeys(part.update for one in self.matched for part in one.parts if part.short)
        return (_RELAUNCH, *parts) if self.relaunch else tuple(parts)

    def as_json(self) -> dict[str, Any]:
        """The `explain` object of `kloister verify --explain --json`."""
        return {
            "fmspc": self.fmspc,
            "tcb_info_version": self.version,
            "evaluation_number": self.evaluation_number,
            "issued": f"{self.issued:%Y-%m-%dT%H:%M:%SZ}",
            "next_update": f"{self.next_update:%Y-%m-%dT%H:%M:%SZ}",
            "matched": [one.as_json() for one in self.matched],
            "updates": list(self.updates),
            "notes": list(self.notes),
        }


def explain(basis: TcbBasis | UnsupportedBasis) -> Explanation:
    """Explain a TCB result from what it was judged from (the `basis` of `Verified`, `TcbRevoked`, `TcbUnsupported`)."""
    info = basis.info
    if isinstance(basis, UnsupportedBasis):
        below = _below(basis)
        return _explained(basis, (below,), (*_words(info, below), _OLDER))
    now = basis.current or basis
    matched = _matched(now)
    levels = [one.level for one in matched]
    then = [_at_launch(one) for one in _matched(basis) if one.level not in levels]
    return replace(
        _explained(basis, (*matched, *then), tuple(_notes(now, matched))), relaunch=basis.current is not None
    )


def _matched(basis: TcbBasis) -> list[Matched]:
    matched = [_platform(basis), _enclave("quoting enclave", basis.identity.levels, basis.qe_level, basis.qe_isvsvn)]
    svns = basis.tee_tcb_svn
    if svns is not None and basis.module_level is not None:
        name = f"TDX_{svns[1]:02X}"
        levels = next((each.levels for each in basis.info.tdx_modules if each.id == name), (basis.module_level,))
        matched.append(_enclave(f"TDX module {name}", levels, basis.module_level, svns[0]))
    return matched


def _at_launch(one: Matched) -> Matched:
    """What a domain was launched on: no update changes that."""
    parts = tuple(replace(part, needed=None) for part in one.parts)
    return replace(one, name=f"at launch: {one.name}", next=None, parts=parts)


def _explained(basis: TcbBasis | UnsupportedBasis, matched: tuple[Matched, ...], notes: tuple[str, ...]) -> Explanation:
    info = basis.info
    return Explanation(
        fmspc=basis.platform.fmspc.hex(),
        version=info.version,
        evaluation_number=info.evaluation_number,
        issued=info.issue_date,
        next_update=info.next_update,
        matched=matched,
        notes=notes,
    )


def _below(basis: UnsupportedBasis) -> Matched:
    """How far the platform is from the lowest level; of a trust domain, from the lowest that one can reach."""
    info, svns = basis.info, basis.tee_tcb_svn
    fit = [level for level in info.levels if svns is None or level.tdx_components is not None] or info.levels
    lowest, none = fit[-1], (0,) * len(basis.platform.components)
    parts = [*_listed("SGX", basis.platform.components, none, lowest.components, lowest, tdx=False)]
    if svns is not None and lowest.tdx_components is not None:
        own = _MODULE_COMPONENTS if svns[1] else 0  # the module's, which its identity judges
        needed = (0,) * own + lowest.tdx_components[own:]
        parts += _listed("TDX", tuple(svns), none, needed, lowest, tdx=True)
    parts.append(_part("PCESVN", basis.platform.pcesvn, 0, lowest, _PCE))
    level = Level.of(lowest)
    return Matched("platform", level, 0, len(info.levels), level, tuple(parts))


def _platform(basis: TcbBasis) -> Matched:
    levels, level = basis.info.levels, basis.level
    better = _better(levels, level)
    parts = [*_components(basis, better), _part("PCESVN", basis.platform.pcesvn, level.pcesvn, better, _PCE)]
    return Matched(
        "platform",
        Level.of(level),
        levels.index(level) + 1,
        len(levels),
        Level.of(better) if better else None,
        tuple(parts),
    )


def _part(name: str, have: int, matched: int, better: TcbLevel | None, update: str) -> Part:
    return Part(name, "", "", have, matched, None if better is None else better.pcesvn, update)


def _components(basis: TcbBasis, better: TcbLevel | None) -> Iterator[Part]:
    level = basis.level
    needed = None if better is None else better.components
    yield from _listed("SGX", basis.platform.components, level.components, needed, level, tdx=False)
    svns, asked = basis.tee_tcb_svn, level.tdx_components
    if svns is not None and asked is not None:
        needed = None if better is None else better.tdx_components
        if basis.module_level is not None:  # then the first two are the module's, which is matched by itself
            needed = needed and (0,) * _MODULE_COMPONENTS + needed[_MODULE_COMPONENTS:]
        yield from _listed("TDX", tuple(svns), asked, needed, level, tdx=True)


def _listed(
    name: str,
    have: Sequence[int],
    matched: Sequence[int],
    needed: Sequence[int] | None,
    level: TcbLevel,
    *,
    tdx: bool,
) -> Iterator[Part]:
    words = level.described(tdx=tdx)
    for index, (own, asked) in enumerate(zip(have, matched, strict=True)):
        category, kind = (words[index].category, words[index].type) if words else ("", "")
        if own or asked or category or (needed and needed[index]):  # most of the 16 are not in use
            better = None if needed is None else needed[index]
            title = f"{name} component {index + 1}"
            yield Part(title, category, kind, own, asked, better, _update(category, kind))


def _update(category: str, kind: str) -> str:
    return next((text for word, text in _UPDATES if word in f"{kind} {category}"), _UNKNOWN)


def _better(levels: Sequence[TcbLevel], level: TcbLevel) -> TcbLevel | None:
    """The nearest level above with a better status, or any with one: levels are ordered by numbers, not by status."""
    at = levels.index(level)
    near = [*reversed(levels[:at]), *levels[at + 1 :]]
    return next((each for each in near if _RANK[each.status] < _RANK[level.status]), None)


def _enclave(name: str, levels: Sequence[QeLevel], level: QeLevel, isvsvn: int) -> Matched:
    at = levels.index(level)
    better = next((each for each in reversed(levels[:at]) if _RANK[each.status] < _RANK[level.status]), None)
    update = _QE if name == "quoting enclave" else _MODULE
    part = Part("ISVSVN", "", "", isvsvn, level.isvsvn, None if better is None else better.isvsvn, update)
    return Matched(name, Level.of(level), at + 1, len(levels), Level.of(better) if better else None, (part,))


def _notes(basis: TcbBasis, matched: Sequence[Matched]) -> Iterator[str]:
    status = basis.level.status
    yield from _words(basis.info, matched[0])
    if status in (TcbStatus.CONFIGURATION_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED):
        yield "Settings of the platform matter (often hyper-threading): the advisories say which."
    if status in (TcbStatus.SW_HARDENING_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED):
        yield "The software inside must have the mitigations that the advisories name; no update changes this status."
    if status is not TcbStatus.UP_TO_DATE and matched[0].next is None:
        yield "No level of this TCB info is better: there is nothing to update to."
    if any(part.short for part in matched[0].parts):
        yield "After an update, fetch a new PCK certificate: its numbers are the ones that count."


def _words(info: TcbInfo, platform: Matched) -> Iterator[str]:
    if info.version == _V2:
        yield "TCB info of version 2 does not say what the components are, nor which advisories apply."
    elif not any(part.category for part in platform.parts):
        yield "This TCB info does not say what the components are."
