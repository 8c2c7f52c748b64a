"""SNP reports and Azure's blobs through the appraisal: recognised in every form, judged, their chip's id hidden."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from kloister.formats.snp import GuestPolicy, HclBlob, Product
from kloister.services.appraisal import OPERATOR_NAMED, Kind, appraise, parse_root
from kloister.services.appraisal.inputs import parse_any_root
from kloister.services.appraisal.recognise import identify
from kloister.trust.amd_root import AMD_ROOTS, AmdRoot
from kloister.trust.policy.appraisal import AppraisalPolicy, parse_appraisal
from kloister.trust.verifier import INTEL_ROOT, Root, VerifierCache
from tests.support.evidence import Forge, code_of
from tests.support.snp import NOW, SnpForge, pem, report, snp_cases

FORGE = SnpForge()
REPORT = FORGE.signed()
PARTS = FORGE.endorsement()
CHIP = bytes(range(1, 65))
RUNTIME = b'{"user-data": "00"}'


def _blob() -> bytes:
    bound = hashlib.sha256(RUNTIME).digest().ljust(64, b"\0")
    return HclBlob(report=replace(FORGE, report=report(report_data=bound)).signed(), runtime=RUNTIME).build()


def judged(data: bytes = REPORT, policy: AppraisalPolicy | None = OPERATOR_NAMED, **arguments: Any) -> dict[str, Any]:
    roots: list[Root | AmdRoot] = [INTEL_ROOT, *AMD_ROOTS, FORGE.root]
    appraisal = appraise(data, None, roots, NOW, policy, endorsement=PARTS)
    return json.loads(json.dumps(appraisal.as_json(**arguments)))  # type: ignore[no-any-return]


FORMS = {
    "raw": REPORT,
    "hex": REPORT.hex().encode(),
    "hex in lines": b"0x" + b"\n".join(REPORT.hex().encode()[at : at + 64] for at in range(0, 2368, 64)),
    "base64": base64.b64encode(REPORT),
    "base64url": base64.urlsafe_b64encode(REPORT).rstrip(b"="),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_report_is_recognised_in_every_form(form: str) -> None:
    assert identify(FORMS[form]) == (Kind.SNP_REPORT, REPORT)
    document = judged(FORMS[form])
    assert (document["kind"], document["tee"], document["verdict"]) == ("snp-report", "snp", "accept")
    assert document["claims"]["measurement"] == "33" * 48


def test_a_blob_of_azure_is_recognised() -> None:
    for data in (_blob(), base64.b64encode(_blob()), _blob() + bytes(600)):
        document = judged(data)
        assert (document["kind"], document["tee"], document["verdict"]) == ("azure-hcl", "snp", "accept")
        assert document["claims"]["user_data"] == "00"


def test_quotes_stay_quotes() -> None:
    forge = Forge()
    assert identify(forge.quote())[0] is Kind.QUOTE
    assert identify(replace(forge, version=4).quote())[0] is Kind.QUOTE


def test_every_captured_report_is_recognised() -> None:
    kinds = {identify(case.report)[0] for case in snp_cases()}
    assert kinds == {Kind.SNP_REPORT}


def test_amd_publishes_no_status() -> None:
    document = judged()
    seen = [document[name] for name in ("genuine", "tcb_status", "advisories", "tcb_date", "fmspc", "simulated")]
    assert seen == [True, None, [], None, None, False]


def test_a_chip_id_is_hidden_unless_it_is_asked_for() -> None:
    for data in (REPORT, _blob()):
        hidden, shown = judged(data), judged(data, show_identifiers=True)
        assert CHIP.hex() not in json.dumps(hidden)
        assert hidden["claims"]["chip_id"] == f"sha256:{hashlib.sha256(CHIP).hexdigest()}"
        assert shown["claims"]["chip_id"] == CHIP.hex()


def test_debug_guests_are_refused_by_default() -> None:
    debug = replace(FORGE, report=report(policy=GuestPolicy(1 << 17 | 1 << 19))).signed()
    document = judged(debug)
    assert (document["genuine"], document["verdict"], document["reason"]["code"]) == (
        True,
        "reject",
        "debug-not-allowed",
    )
    assert judged(debug, None)["verdict"] == "accept"
    assert judged(debug, parse_appraisal(b'{"snp": {"debug": true}}'))["verdict"] == "accept"


@pytest.mark.parametrize(
    ("section", "code"),
    [
        ({"measurement": "33" * 48, "hostData": "44" * 32, "vmpl": 0, "guestSvn": 7, "chipId": CHIP.hex()}, None),
        ({"minimumTcb": {"bootloader": 4, "tee": 1, "snp": 24, "microcode": 219}}, None),
        ({"minimumTcb": {"microcode": 220}}, "snp-tcb-too-low"),
        ({"minimumTcb": {"fmc": 0}}, "snp-tcb-too-low"),  # Milan has none
        ({"measurement": "00" * 48}, "measurement-not-allowed"),
        ({"vmpl": 1}, "vmpl-not-allowed"),
        ({"hostData": "00" * 32}, "host-data-not-allowed"),
        ({"chipId": "00" * 64}, "chip-not-allowed"),
    ],
)
def test_a_policy_judges_the_claims(section: dict[str, Any], code: str | None) -> None:
    policy = parse_appraisal(json.dumps({"snp": section}).encode())
    assert judged(policy=policy).get("reason", {}).get("code") == code


def test_turin_has_a_firmware_level_of_its_own() -> None:
    turin = SnpForge.of(Product.TURIN, 5)
    policy = parse_appraisal(b'{"snp": {"minimumTcb": {"fmc": 3}}}')
    appraisal = appraise(turin.signed(), None, [turin.root], NOW, policy, endorsement=turin.endorsement())
    assert [each.code for each in appraisal.conditions] == ["snp-tcb-too-low"]


def test_what_is_not_genuine_repeats_nothing() -> None:
    document = judged(replace(FORGE, signing=2).signed())
    assert (document["genuine"], document["tee"], document["claims"]) == (False, "snp", None)
    assert document["reason"]["code"] == "snp-report-signature"


def test_only_amds_kind_of_root_vouches() -> None:
    appraisal = appraise(REPORT, None, [INTEL_ROOT], NOW, None, endorsement=PARTS)
    assert appraisal.reason is not None
    assert appraisal.reason.code == "root-untrusted"


def test_the_operator_is_told_what_is_missing() -> None:
    assert code_of(lambda: appraise(REPORT, None, AMD_ROOTS, NOW, None)) == "endorsement-missing"
    assert code_of(lambda: appraise(Forge().quote(), None, [INTEL_ROOT], NOW, None)) == "collateral-missing"


def test_a_cache_is_passed_on() -> None:
    cache = VerifierCache()
    assert appraise(REPORT, None, [FORGE.root], NOW, None, cache, PARTS).accepted
    assert len(cache.endorsements) == 1


def test_roots_of_both_makers_are_read() -> None:
    ark, intel = FORGE.ark_der(), Forge().pki.root_der()
    assert parse_any_root(ark) == parse_any_root(pem(ark)) == FORGE.root
    assert parse_any_root(intel) == parse_root(intel)
    assert code_of(lambda: parse_any_root(pem(ark) * 2)) == "root-pem"
    assert code_of(lambda: parse_any_root(b"no certificate")) == "certificate-syntax"
