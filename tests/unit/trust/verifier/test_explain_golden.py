"""Explanations as a whole, compared with what was read and found right: golden/explain.json.

`python -m tests.unit.trust.verifier.test_explain_golden` writes the file; read the difference before committing it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.dcap import QeLevel, TcbInfo, TcbStatus
from kloister.trust.evidence import TcbBasis, UnsupportedBasis
from kloister.trust.verifier.explain import explain
from tests.support.trust_domains import TdForge

GOLDEN = Path(__file__).parent / "golden" / "explain.json"
FORGE = TdForge()
SGX = (
    ("BIOS", "Early Microcode Update"), ("OS/VMM", "SGX Late Microcode Update"), ("OS/VMM", "TXT SINIT"), ("BIOS", ""),
    ("OS/VMM", "Other"), ("", "Something new"),
)  # fmt: skip
TDX = (("OS/VMM", "TDX Module"), ("OS/VMM", "TDX Module"), ("OS/VMM", "SEAMLDR"), ("OS/VMM", ""))


def _listed(svns: Sequence[int], words: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    named = [*words, *[("", "")] * (16 - len(words))]
    filled = [*svns, *[0] * (16 - len(svns))]
    return [
        {"svn": svn, **({"category": category} if category else {}), **({"type": kind} if kind else {})}
        for svn, (category, kind) in zip(filled, named, strict=True)
    ]


def _level(
    status: str,
    sgx: Sequence[int],
    tdx: Sequence[int] | None,
    pcesvn: int,
    *advisories: str,
    words: Sequence[tuple[str, str]] = TDX,
) -> dict[str, Any]:
    tcb = {"pcesvn": pcesvn, "sgxtcbcomponents": _listed(sgx, SGX)}
    if tdx is not None:
        tcb["tdxtcbcomponents"] = _listed(tdx, words)
    date = f"20{20 + pcesvn}-03-04T00:00:00Z"
    return {"tcb": tcb, "tcbDate": date, "tcbStatus": status, "advisoryIDs": list(advisories)}


def _info(*levels: dict[str, Any], version: int = 3) -> TcbInfo:
    document = json.loads(FORGE.documents()["tcb_info"])
    return replace(TcbInfo.parse(json.dumps({**document, "tcbLevels": list(levels)})), version=version)


LEVELS = (
    _level("UpToDate", (6, 6, 3, 3, 3, 2), (4, 0, 4, 4), 9),
    _level("ConfigurationNeeded", (5, 6, 3, 3, 3, 2), (4, 0, 4, 3), 8, "INTEL-SA-00001"),
    _level("SWHardeningNeeded", (5, 5, 3, 3, 2, 2), (3, 0, 3, 3), 8, "INTEL-SA-00002", "INTEL-SA-00003"),
    _level("OutOfDateConfigurationNeeded", (4, 4, 2, 2, 2, 1), (3, 0, 3, 2), 5, "INTEL-SA-00004"),
    _level("OutOfDate", (2, 2, 1, 1, 1, 0, 0, 1), None, 4, "INTEL-SA-00005"),
)
QE = tuple(
    QeLevel(svn, status, datetime(2026, 1, svn, tzinfo=UTC), (f"INTEL-SA-0{svn}",))
    for svn, status in ((8, TcbStatus.UP_TO_DATE), (6, TcbStatus.OUT_OF_DATE), (4, TcbStatus.REVOKED))
)


def _basis(info: TcbInfo, at: int, **changes: Any) -> TcbBasis:
    found = FORGE.verify(FORGE.documents()).basis
    assert found is not None
    level = info.levels[at]
    platform = replace(found.platform, components=level.components, pcesvn=level.pcesvn)
    identity = replace(found.identity, levels=QE)
    return replace(
        found, info=info, level=level, platform=platform, identity=identity, qe_level=QE[0], qe_isvsvn=9,
        tee_tcb_svn=None, module_level=None, **changes,
    )  # fmt: skip


def _domain(basis: TcbBasis, svns: Sequence[int], module: QeLevel | None) -> TcbBasis:
    return replace(basis, tee_tcb_svn=bytes([*svns, *[0] * (16 - len(svns))]), module_level=module)


def cases() -> Mapping[str, TcbBasis | UnsupportedBasis]:
    """Every shape of a TCB result that is told apart."""
    info = _info(*LEVELS)
    modules = replace(info.tdx_modules[0], levels=QE)
    versioned = replace(info, tdx_modules=(replace(modules, id="TDX_02", levels=QE[:1]), modules))
    below = replace(_basis(info, 4).platform, components=(1, *[0] * 15), pcesvn=3)
    found: dict[str, TcbBasis | UnsupportedBasis] = {f"sgx, level {at + 1}": _basis(info, at) for at in range(5)}
    found["quoting enclave out of date"] = replace(_basis(info, 0), qe_level=QE[1], qe_isvsvn=7)
    found["quoting enclave revoked"] = replace(_basis(info, 0), qe_level=QE[2], qe_isvsvn=4)
    found["domain without a version"] = _domain(_basis(info, 2), (3, 0, 3, 3), None)
    found["domain, module out of date"] = _domain(_basis(versioned, 3), (7, 1, 3, 2), QE[1])
    found["domain, module up to date"] = _domain(_basis(versioned, 0), (8, 1, 5, 4), QE[0])
    found["domain, module that nobody lists"] = _domain(_basis(info, 1), (5, 9, 4, 3), QE[0])
    newer = _level("SWHardeningNeeded", (7, 7, 4, 4, 4, 3), None, 9, "INTEL-SA-00006")
    found["better only below"] = _basis(_info(newer, LEVELS[0], LEVELS[4]), 0)
    found["nothing better"] = _basis(_info(*LEVELS[1:2], *LEVELS[3:]), 0)
    found["version 2"] = _basis(_info(*LEVELS, version=2), 3)
    found["below, sgx"] = UnsupportedBasis(info=info, platform=below)
    found["below, domain"] = UnsupportedBasis(info=info, platform=below, tee_tcb_svn=bytes([1, 0, *[1] * 14]))
    found["below, domain with a version"] = UnsupportedBasis(
        info=info, platform=below, tee_tcb_svn=bytes([5, 1, *[1] * 14])
    )
    found["below, no level for domains"] = UnsupportedBasis(
        info=_info(LEVELS[4]), platform=below, tee_tcb_svn=bytes([5, 1, *[1] * 14])
    )
    return found | _rarer(info)


def _rarer(info: TcbInfo) -> dict[str, TcbBasis | UnsupportedBasis]:
    """Neighbours of one status; parts that one of both sides does not have."""
    older = replace(QE[2], status=QE[1].status)
    twins = replace(_basis(info, 0), qe_level=older, qe_isvsvn=4)
    mute = _info(_level("UpToDate", (6, 6), (4, 0, 4, 4), 9, words=()))
    return {
        "two levels of one status": _basis(_info(LEVELS[0], {**LEVELS[3], "tcbStatus": "OutOfDate"}, LEVELS[4]), 2),
        "quoting enclave, two levels of one status": replace(
            twins, identity=replace(twins.identity, levels=(*QE[:2], older))
        ),
        "domain, module with number 0": _domain(_basis(mute, 0), (0, 9, 5, 4), replace(QE[0], isvsvn=0)),
        "domain at a level without its components": _domain(_basis(info, 4), (3, 0, 3, 3), None),
        "module of no domain": replace(_basis(info, 0), module_level=QE[0]),
    }


def _said() -> dict[str, Any]:
    return {name: explain(basis).as_json() for name, basis in cases().items()}


@pytest.mark.parametrize("name", cases())
def test_an_explanation_is_as_it_was_read(name: str) -> None:
    assert explain(cases()[name]).as_json() == json.loads(GOLDEN.read_text())[name]


def test_no_case_is_forgotten() -> None:
    assert json.loads(GOLDEN.read_text()).keys() == cases().keys()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(_said(), indent=1) + "\n")
