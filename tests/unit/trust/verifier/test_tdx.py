"""Every rule that trust domains add to the verification, framed by the unmodified evidence verifying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloister.errors import Malformed, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.formats.tdx import TdFlag, TdReport
from kloister.simulator.documents import TcbStage
from kloister.simulator.pki import derive_key
from kloister.trust.evidence import TcbRevoked, VerifiedSgx, VerifiedTdx
from kloister.trust.verifier import Collateral, Root, verify_quote, verify_sgx, verify_tdx
from kloister.trust.verifier.explain import explain
from tests.support.evidence import NOW, QE, SEED, Forge, code_of
from tests.support.trust_domains import TDX10, TDX15, TDX15EX, TdForge, module

FORGE = TdForge()
QUOTE, DOCUMENTS = FORGE.quote(), FORGE.documents()
ROOTS = [Root.from_der(FORGE.pki.root_der())]
EVIL = derive_key(SEED, "evil")


@pytest.mark.parametrize(("version", "report"), [(4, TDX10), (5, TDX10), (5, TDX15), (5, TDX15EX)])
def test_every_layout_verifies(version: int, report: TdReport) -> None:
    verified = replace(FORGE, version=version, report=report).verify()
    assert (verified.tee, verified.tcb_status, verified.advisories) == ("tdx", "UpToDate", ())
    assert verified.report == report
    assert verified.fmspc == FORGE.pki.fmspc.hex()
    assert verified.tcb_date == datetime(2025, 3, 3, tzinfo=UTC)  # the module's level is the oldest


def test_the_claims_say_what_the_report_says() -> None:
    claims = replace(FORGE, version=5, report=TDX15).verify().claims
    assert claims["mrtd"] == "61" * 48
    assert [claims[f"rtmr{index}"] for index in range(4)] == [f"{index:02x}" * 48 for index in (1, 2, 3, 4)]
    assert (claims["debug"], claims["sept_ve_disable"]) == (False, True)
    assert claims["td_attributes"] == "0000001000000000"
    assert claims["tee_tcb_svn"] == claims["tee_tcb_svn2"] == TDX15.tee_tcb_svn.hex()
    assert claims["mrservicetd"] == "00" * 48
    assert "mrservicetd" not in FORGE.verify().claims


def test_debug_and_service_domains_are_claims_for_policy() -> None:
    debug = replace(FORGE, report=replace(TDX10, td_attributes=TdFlag.DEBUG)).verify()
    assert (debug.claims["debug"], debug.claims["sept_ve_disable"]) == (True, False)
    bound = replace(FORGE, version=5, report=replace(TDX15, mrservicetd=bytes([7]) * 48)).verify()
    assert bound.claims["mrservicetd"] == "07" * 48


def test_each_function_takes_its_own_tee_and_the_general_one_takes_both() -> None:
    sgx = Forge()
    domain, enclave = Collateral.from_json(DOCUMENTS), Collateral.from_json(sgx.documents())
    assert isinstance(verify_quote(QUOTE, domain, ROOTS, NOW), VerifiedTdx)
    assert isinstance(verify_quote(sgx.quote(), enclave, ROOTS, NOW), VerifiedSgx)
    assert code_of(lambda: verify_sgx(QUOTE, domain, ROOTS, NOW)) == "tee-unexpected"
    assert code_of(lambda: verify_tdx(sgx.quote(), enclave, ROOTS, NOW)) == "tee-unexpected"


def _report(**changes: Any) -> TdForge:
    return replace(FORGE, report=replace(TDX10, **changes))


def _svn(*first: int, rest: int = 3) -> bytes:
    return bytes([*first, *[rest] * (16 - len(first))])


def _info(change: Callable[[dict[str, Any]], object]) -> dict[str, str]:
    return FORGE.documents(info=change)


@pytest.mark.parametrize(
    ("forge", "documents", "code"),
    [
        (FORGE, DOCUMENTS, "accepted"),
        (FORGE, Forge().documents(), "tcb-info-tee"),
        (FORGE, _info(lambda d: d.update(id="SGX")), "tcb-info-tee"),
        (FORGE, FORGE.documents(identity=lambda d: d.update(id="QE")), "qe-identity-id"),
        (replace(FORGE, qe=replace(QE, isvprodid=1)), DOCUMENTS, "qe-isvprodid"),
        (replace(FORGE, pck_key=EVIL), DOCUMENTS, "qe-report-signature"),
        (FORGE, _info(lambda d: d.update(tdxModuleIdentities=[])), "tdx-module-unknown"),
        (FORGE, _info(lambda d: d.pop("tdxModuleIdentities")), "tdx-module-unknown"),
        (FORGE, _info(lambda d: d["tdxModuleIdentities"][0].update(id="tdx_01")), "accepted"),
        (_report(tee_tcb_svn=_svn(5, 2)), DOCUMENTS, "tdx-module-unknown"),
        (_report(mrsignerseam=bytes([1]) * 48), DOCUMENTS, "tdx-module-signer"),
        (_report(seam_attributes=bytes([1]) * 8), DOCUMENTS, "tdx-module-attributes"),
        (_report(tee_tcb_svn=_svn(3, 1)), DOCUMENTS, "tdx-module-svn-unsupported"),
        (FORGE, _info(lambda d: d["tdxModuleIdentities"][0].update(tcbLevels=[])), "tdx-module-svn-unsupported"),
        (FORGE, FORGE.documents(identity=lambda d: d.update(tcbLevels=[])), "qe-svn-unsupported"),
        (_report(tee_tcb_svn=_svn(3, 0)), DOCUMENTS, "accepted"),
        (_report(tee_tcb_svn=_svn(3, 0)), _info(lambda d: d.pop("tdxModule")), "tdx-module-unknown"),
        (_report(tee_tcb_svn=_svn(3, 0), mrsignerseam=bytes([1]) * 48), DOCUMENTS, "tdx-module-signer"),
        (_report(tee_tcb_svn=_svn(5, 1, 2)), _info(lambda d: d["tcbLevels"].pop()), "tcb-unsupported"),
        (FORGE, _info(lambda d: [one["tcb"].pop("tdxtcbcomponents") for one in d["tcbLevels"]]), "tcb-unsupported"),
        (FORGE, _info(lambda d: d["tdxModuleIdentities"][0].update(mrsigner="00")), "tcb-info-field"),
        (FORGE, _info(lambda d: d["tdxModuleIdentities"][0].pop("id")), "tcb-info-field"),
        (FORGE, _info(lambda d: d["tcbLevels"][0]["tcb"]["tdxtcbcomponents"].pop()), "tcb-info-field"),
        (FORGE, _info(lambda d: d["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][0].update(svn=True)), "tcb-info-field"),
    ],
)
def test_reasons(forge: TdForge, documents: dict[str, str], code: str) -> None:
    assert code_of(lambda: forge.verify(documents)) == code


@pytest.mark.parametrize(
    ("svn", "status"),
    [
        (_svn(5, 1), "UpToDate"),
        (_svn(5, 1, 2), "OutOfDate"),  # a component of the platform
        (_svn(4, 1), "OutOfDate"),  # the module's own SVN
        (_svn(9, 1, rest=9), "UpToDate"),
        (_svn(2, 3), "UpToDate"),  # with a versioned module the first two components are not the platform's
        (_svn(3, 0, 3), "OutOfDate"),  # without one they are: the second is below 3
    ],
)
def test_the_level_that_tee_tcb_svn_reaches(svn: bytes, status: str) -> None:
    assert _report(tee_tcb_svn=svn).verify().tcb_status == status


@pytest.mark.parametrize(
    ("platform", "together"),
    [
        ("UpToDate", "OutOfDate"),
        ("SWHardeningNeeded", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDateConfigurationNeeded"),
        ("OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"),
    ],
)
def test_an_old_module_makes_the_whole_old(platform: str, together: str) -> None:
    def change(document: dict[str, Any]) -> None:
        for level in document["tcbLevels"]:
            level.update(tcbStatus=platform, advisoryIDs=["P"])

    result = _report(tee_tcb_svn=_svn(4, 1)).verify(_info(change))
    assert (result.tcb_status, result.advisories) == (together, ("M", "P"))
    assert result.basis is not None
    assert result.basis.module_level is not None
    assert result.basis.module_level.isvsvn == 4


def test_a_revoked_module_or_platform_is_not_genuine() -> None:
    revoked = _info(lambda d: d.update(tdxModuleIdentities=[module("TDX_01", (5, "Revoked", ["M"]))]))
    for documents in (revoked, FORGE.documents(stage=TcbStage(status=TcbStatus.REVOKED))):
        with pytest.raises(TcbRevoked) as refusal:
            FORGE.verify(documents)
        assert (refusal.value.tee, refusal.value.tcb.status) == ("tdx", "Revoked")


@pytest.mark.parametrize(
    ("launch", "current", "platform", "status"),
    [
        (_svn(5, 1), _svn(5, 1), "UpToDate", "UpToDate"),
        (_svn(4, 1), _svn(4, 1), "UpToDate", "OutOfDate"),
        (_svn(4, 1), _svn(5, 1), "UpToDate", "TDRelaunchAdvised"),
        (_svn(4, 1), _svn(2, 3), "UpToDate", "TDRelaunchAdvised"),
        (_svn(4, 1), _svn(5, 1), "SWHardeningNeeded", "TDRelaunchAdvised"),
        (_svn(4, 1), _svn(5, 1), "ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        (_svn(5, 1), _svn(4, 1), "UpToDate", "UpToDate"),
        (_svn(5, 1), _svn(5, 2), "UpToDate", "tdx-module-unknown"),
        (_svn(5, 1), _svn(3, 1), "UpToDate", "tdx-module-svn-unsupported"),
    ],
)
def test_relaunch(launch: bytes, current: bytes, platform: str, status: str) -> None:
    report = replace(TDX15, tee_tcb_svn=launch, tee_tcb_svn2=current)
    forge = replace(FORGE, version=5, report=report)
    documents = _info(lambda d: d["tcbLevels"][0].update(tcbStatus=platform))
    try:
        found = str(forge.verify(documents).tcb_status)
    except Unverified as refusal:
        found = refusal.code
    assert found == status


@pytest.mark.parametrize("current", [_svn(5, 1), _svn(2, 3)])
def test_a_relaunch_is_explained_as_one(current: bytes) -> None:
    report = replace(TDX15, tee_tcb_svn=_svn(4, 1), tee_tcb_svn2=current)
    basis = replace(FORGE, version=5, report=report).verify().basis
    assert basis is not None
    said = explain(basis)
    assert said.updates == ("Start the trust domain again: the platform has been updated since it was launched.",)
    assert [(one.name, str(one.level.status)) for one in said.matched] == [
        ("platform", "UpToDate"),
        ("quoting enclave", "UpToDate"),
        (f"TDX module TDX_{current[1]:02X}", "UpToDate"),
        ("at launch: TDX module TDX_01", "OutOfDate"),
    ]
    launch = said.matched[-1]
    assert (launch.next, launch.parts[0].have, launch.parts[0].needed) == (None, 4, None)
    still = replace(FORGE, version=5, report=replace(report, tee_tcb_svn2=_svn(4, 1))).verify().basis
    assert still is not None
    assert explain(still).updates == ("Update the TDX module (a package of the host's operating system, or BIOS).",)


def test_a_module_below_all_levels_is_to_be_updated() -> None:
    with pytest.raises(Unverified) as refusal:
        _report(tee_tcb_svn=_svn(3, 1)).verify()
    assert refusal.value.text == "No level of the module TDX_01 is reached by its SVN 3; the lowest asks for 4."
    assert refusal.value.hint.startswith("Update the TDX module")
    with pytest.raises(Unverified) as refusal:
        FORGE.verify(_info(lambda d: d.update(tdxModuleIdentities=[module("TDX_01")])))
    assert refusal.value.text == "No level of the module TDX_01 is reached by its SVN 5."


def test_what_the_components_are_is_kept_for_explanations() -> None:
    basis = FORGE.verify().basis
    assert basis is not None
    assert {(one.category, one.type) for one in basis.level.described(tdx=True)} == {("OS/VMM", "SEAMLDR")}
    said = [(one.category, one.type) for one in basis.level.described()]
    assert (said[0], said[3], said[6]) == (("BIOS", "Early Microcode Update"), ("BIOS", ""), ("", ""))


SIGNED_AND_AUTHENTICATING = QUOTE.index(b"-----BEGIN") - 6


@settings(max_examples=250)
@given(st.integers(0, SIGNED_AND_AUTHENTICATING * 8 - 1))
def test_a_flipped_bit_never_verifies(bit: int) -> None:
    damaged = bytearray(QUOTE)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Malformed, Unverified)):
        verify_quote(bytes(damaged), Collateral.from_json(DOCUMENTS), ROOTS, NOW)


@settings(max_examples=150)
@given(st.integers(0, len(QUOTE) - 1))
def test_a_cut_quote_never_verifies(size: int) -> None:
    with pytest.raises((Malformed, Unverified)):
        verify_quote(QUOTE[:size], Collateral.from_json(DOCUMENTS), ROOTS, NOW)
