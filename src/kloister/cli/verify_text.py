"""How `kloister verify` tells a person what it found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kloister.cli.console import print_json, say
from kloister.services.appraisal import Appraisal
from kloister.services.appraisal.whatif import Row
from kloister.trust import identifiers
from kloister.trust.verifier.explain import Explanation, Level, Matched, Part, explain

if TYPE_CHECKING:
    from rich.tree import Tree

_SIMULATED = "This platform is SIMULATED: the evidence proves nothing about hardware."
_NO_LEVELS = "Nothing to explain: AMD publishes no TCB levels. A policy asks for the least of each (snp.minimumTcb)."
# what a person reads
_MEASURED = (
    "mrenclave",
    "mrsigner",
    "mrtd",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "measurement",
    "host_data",
    "report_data",
)
_REPORTED = "reported_tcb_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How it is told: the options of `kloister verify`."""

    as_json: bool
    explain: bool
    proof_only: bool
    show_identifiers: bool


def show(rows: Sequence[Row], manner: Manner, more: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Tell the first row's appraisal, its explanation and the other rows; `more` joins the JSON object."""
    appraisal = rows[0].appraisal
    explanation = explain(appraisal.basis) if manner.explain and appraisal.basis else None
    if appraisal.simulated:
        say(_SIMULATED)
    if manner.as_json:
        document = appraisal.as_json(show_identifiers=manner.show_identifiers)
        if manner.explain:
            document["explain"] = explanation.as_json() if explanation else None
            if appraisal.unverified is not None:
                document["unverified_claims"] = _unverified(appraisal, manner)
        if rows[1:]:
            document["what_if"] = [row.as_json() for row in rows]
        print_json(document | dict(more))
        return
    print_appraisal(appraisal, proof_only=manner.proof_only, show_identifiers=manner.show_identifiers)
    if explanation:
        print_explanation(explanation)
    elif manner.explain and appraisal.genuine and appraisal.tee == "snp" and appraisal.issuer is None:
        print(_NO_LEVELS)
    if manner.explain and appraisal.unverified is not None:
        print("UNVERIFIED: this is what the token claims; anybody may have written it.")
        print_json(_unverified(appraisal, manner))
    if rows[1:]:
        print_rows(rows)


def _unverified(appraisal: Appraisal, manner: Manner) -> dict[str, Any]:
    claims = dict(appraisal.unverified or {})
    return claims if manner.show_identifiers else identifiers.hide(claims)


def print_appraisal(appraisal: Appraisal, *, proof_only: bool, show_identifiers: bool = False) -> None:
    """The verdict, what it rests on, and why it is refused: every condition that failed."""
    for name, value in _lines(appraisal):
        print(f"{name:<12} {value}")
    if show_identifiers:
        for name, value in appraisal.identifiers.items():
            print(f"{name:<12} {value}")
    if appraisal.reason:
        print(f"{'reason':<12} {appraisal.reason.text} [{appraisal.reason.code}]")
        if appraisal.reason.hint:
            print(f"{'':<12} {appraisal.reason.hint}")
    elif proof_only:
        say("No policy was applied: genuine does not mean acceptable.")
    for condition in appraisal.conditions if len(appraisal.conditions) > 1 else ():
        print(
            f"{'failed':<12} {condition.path}: expected {condition.expected}, seen {condition.seen} [{condition.code}]"
        )


def _lines(appraisal: Appraisal) -> list[tuple[str, str]]:
    """What a person reads first; the whole is in the JSON object."""
    claims = identifiers.hide(appraisal.claims or {})
    lines = [
        ("kind", appraisal.kind),
        ("genuine", "yes" if appraisal.genuine else "no"),
        ("verdict", "accept" if appraisal.accepted else "reject"),
        ("tee", appraisal.tee),
        ("tcb status", appraisal.tcb_status),
        ("advisories", ", ".join(appraisal.advisories)),
        ("tcb date", f"{appraisal.tcb_date:%Y-%m-%d}" if appraisal.tcb_date else None),
        ("fmspc", appraisal.fmspc),
        *((name, str(claims[name])) for name in _MEASURED if name in claims),
        ("isv", f"product {claims['isvprodid']}, version {claims['isvsvn']}" if "isvsvn" in claims else None),
        ("product", f"{claims['product']}, key {claims['signing_key']}" if "product" in claims else None),
        ("tcb", ", ".join(_levels(claims))),
        ("vmpl", str(claims["vmpl"]) if "vmpl" in claims else None),
        ("chip id", claims.get("chip_id")),
        ("debug", "yes" if claims.get("debug") else None),
        ("issuer", appraisal.issuer),
        ("valid until", f"{appraisal.expires:%Y-%m-%d %H:%M:%S}" if appraisal.issuer and appraisal.expires else None),
        ("simulated", "yes" if appraisal.simulated else None),
    ]
    return [(name, str(value)) for name, value in lines if value]


def _levels(claims: Mapping[str, str | int | bool]) -> list[str]:
    """The patch levels that a chip of AMD reports."""
    found = {name.removeprefix(_REPORTED): level for name, level in claims.items() if name.startswith(_REPORTED)}
    return [f"{name} {level}" for name, level in found.items()]


def print_explanation(explanation: Explanation) -> None:
    """A tree: what was matched, which level it reached, what each part lacks; then what to update."""
    from rich.console import Console
    from rich.tree import Tree

    title = f"TCB info {explanation.evaluation_number} of {explanation.issued:%Y-%m-%d} for {explanation.fmspc}"
    root = Tree(f"{title} (version {explanation.version}, next update {explanation.next_update:%Y-%m-%d})")
    for one in explanation.matched:
        _branch(root, one)
    for name, texts in (("to do", explanation.updates), ("notes", explanation.notes)):
        if texts:
            branch = root.add(name)
            for text in texts:
                branch.add(text)
    width = None if sys.stdout.isatty() else 160  # a file has no width; lines of a tree are short
    Console(markup=False, highlight=False, width=width).print(root)


def _branch(root: Tree, one: Matched) -> None:
    if not one.position:
        branch = root.add(f"{one.name}: below the lowest of {one.levels} levels ({_level(one.level)})")
    else:
        branch = root.add(f"{one.name}: {one.level.status} (level {one.position} of {one.levels}, {_level(one.level)})")
    if one.next is not None and one.position:
        branch.add(f"next better: {one.next.status} ({_level(one.next)})")
    for part in one.parts:
        branch.add(_part(part))


def _level(level: Level) -> str:
    advisories = f", {', '.join(level.advisories)}" if level.advisories else ""
    return f"{level.date:%Y-%m-%d}{advisories}"


def _part(part: Part) -> str:
    words = " ".join(word for word in (part.category, part.type) if word)
    what = f"{part.name} ({words})" if words else part.name
    if part.short:
        return f"{what}: {part.have}, needs {part.needed}: {part.short} short. {part.update}"
    return f"{what}: {part.have}, enough" if part.needed is not None else f"{what}: {part.have}"


def print_rows(rows: Sequence[Row]) -> None:
    """One line per question: with which collateral, when, what it is, and what that means."""
    print()
    for row in rows:
        found = row.appraisal
        status = found.tcb_status or (f"refused [{found.reason.code}]" if found.reason else "-")
        number = "-" if row.evaluation_number is None else str(row.evaluation_number)
        verdict = "accept" if found.accepted else "reject"
        print(
            f"{row.at:%Y-%m-%d %H:%M}  {row.collateral}  evaluation {number}  {status}  {verdict}  {row.says}".rstrip()
        )
