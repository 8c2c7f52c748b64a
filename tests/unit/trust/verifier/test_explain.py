from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kloister.formats.dcap import TcbInfo, TcbStatus
from kloister.simulator.documents import TcbStage
from kloister.trust.evidence import TcbBasis, TcbRevoked, TcbUnsupported, Verified
from kloister.trust.verifier.explain import Explanation, Level, explain
from kloister.trust.verifier.tcb import match_platform
from tests.support.evidence import Forge, case, index
from tests.support.trust_domains import TdForge

FORGE = Forge()


def basis(stage: TcbStage | None = None) -> TcbBasis:
    found = FORGE.verify(FORGE.documents(stage)).basis
    assert found is not None
    return found


def of(verified: Verified) -> Explanation:
    assert verified.basis is not None
    return explain(verified.basis)


def test_an_up_to_date_platform_lacks_nothing() -> None:
    explanation = explain(basis())
    platform, enclave = explanation.matched
    assert (platform.name, platform.level.status, platform.position, platform.levels) == ("platform", "UpToDate", 1, 2)
    assert platform.next is None
    assert (enclave.name, enclave.level.status, enclave.next) == ("quoting enclave", "UpToDate", None)
    assert explanation.updates == ()
    assert explanation.evaluation_number == 20
    assert explanation.fmspc == FORGE.pki.fmspc.hex()


def test_an_old_platform_is_told_what_is_short_and_by_how_much() -> None:
    stage = TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00001",))
    explanation = explain(basis(stage))
    platform = explanation.matched[0]
    assert (platform.position, platform.levels) == (2, 3)
    assert platform.level == Level(TcbStatus.OUT_OF_DATE, stage.date, ("INTEL-SA-00001",))
    assert platform.next is not None
    assert platform.next.status is TcbStatus.UP_TO_DATE
    components = [part for part in platform.parts if part.name.startswith("SGX component")]
    assert {part.short for part in components} == {1}
    assert all(part.needed == part.have + 1 for part in components)
    (pce,) = [part for part in platform.parts if part.name == "PCESVN"]
    assert (pce.short, pce.needed) == (0, pce.have)
    assert explanation.updates
    assert any("new PCK certificate" in note for note in explanation.notes)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (TcbStatus.CONFIGURATION_NEEDED, "Settings"),
        (TcbStatus.SW_HARDENING_NEEDED, "mitigations"),
        (TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED, "Settings"),
    ],
)
def test_a_status_that_is_about_more_than_versions_says_so(status: TcbStatus, word: str) -> None:
    assert any(word in note for note in explain(basis(TcbStage(status=status))).notes)
    assert not any(word in note for note in explain(basis()).notes)


def test_a_revoked_platform_is_explained_too() -> None:
    with pytest.raises(TcbRevoked) as refusal:
        basis(TcbStage(status=TcbStatus.REVOKED))
    assert refusal.value.basis is not None
    assert explain(refusal.value.basis).matched[0].level.status is TcbStatus.REVOKED


@pytest.mark.parametrize("domain", [None, bytes([5, 1, *[1] * 14]), bytes([1, 0, *[1] * 14])])
def test_a_platform_below_every_level_is_told_how_far(domain: bytes | None) -> None:
    forge = TdForge()
    info = TcbInfo.parse(forge.documents()["tcb_info"])
    old = replace(forge.pki.extension, pcesvn=5, components=(0, *forge.pki.extension.components[1:]))
    with pytest.raises(TcbUnsupported) as refusal:
        match_platform(replace(info, levels=info.levels[:1]), old, domain)
    explanation = explain(refusal.value.basis)
    (platform,) = explanation.matched
    assert (platform.position, platform.levels) == (0, 1)
    short = {part.name: part.short for part in platform.parts if part.short}
    assert short.pop("PCESVN") == info.levels[0].pcesvn - 5
    assert short.pop("SGX component 1") == info.levels[0].components[0]
    first = 17 if domain is None else 3 if domain[1] else 1  # a module with a version is judged by itself
    assert short == {f"TDX component {n}": 3 - (domain or b"")[n - 1] for n in range(first, 17)}
    assert explanation.updates
    assert any("lowest" in note for note in explanation.notes)
    document = explanation.as_json()
    assert json.loads(json.dumps(document)) == document


def genuine() -> list[dict[str, Any]]:
    return [each for each in index() if each["verdict"] not in ("reject", "Revoked")]


def test_every_genuine_set_of_the_vectors_is_explained() -> None:
    versions = set()
    for entry in genuine():
        verified = case(entry).verify()
        explanation = of(verified)
        document = explanation.as_json()
        assert json.loads(json.dumps(document)) == document
        worst = {one.level.status for one in explanation.matched}
        assert verified.tcb_status in worst or "OutOfDate" in worst or "Relaunch" in str(verified.tcb_status)
        for one in explanation.matched:
            assert all(part.have >= part.matched for part in one.parts if not part.name.startswith("TDX component"))
            assert one.next is None or any(part.short for part in one.parts) or explanation.notes, entry["set"]
        named = any(part.category for part in explanation.matched[0].parts)
        assert named != any("what the components are" in note for note in explanation.notes)
        assert not (named and explanation.version == 2)
        versions.add((verified.tee, explanation.version, named))
    assert {("sgx", 2, False), ("sgx", 3, True), ("sgx", 3, False)} <= versions
