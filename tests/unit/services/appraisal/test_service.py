from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kloister.formats.dcap import TcbStatus
from kloister.formats.sgx import Attributes
from kloister.services.appraisal import (
    OPERATOR_NAMED,
    Appraisal,
    appraise,
    parse_collateral,
    parse_policy,
    parse_root,
    parse_time,
)
from kloister.simulator.documents import TcbStage
from kloister.trust.policy.appraisal import AppraisalPolicy
from kloister.trust.policy.appraisal.fields import TEES
from kloister.trust.verifier import INTEL_ROOT, Collateral
from tests.support.evidence import ENCLAVE, NOW, Forge, case, code_of, index
from tests.support.paths import ROOT

FORGE = Forge()
KEYS = ["kind", "genuine", "verdict", "tee", "tcb_status", "advisories", "tcb_date", "fmspc", "claims", "simulated"]


def judged(
    forge: Forge = FORGE, stage: TcbStage | None = None, policy: AppraisalPolicy | None = OPERATOR_NAMED
) -> dict[str, Any]:
    parts = Collateral.from_json(forge.documents(stage))
    document = appraise(forge.quote(), parts, [FORGE.root], NOW, policy).as_json()
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


def test_accepted_evidence_has_no_reason() -> None:
    document = judged()
    assert list(document) == KEYS
    assert (document["genuine"], document["verdict"], document["tee"]) == (True, "accept", "sgx")
    assert (document["kind"], document["tcb_status"], document["advisories"]) == ("quote", "UpToDate", [])
    assert document["tcb_date"] == "2026-01-01T00:00:00Z"
    assert document["fmspc"] == FORGE.pki.fmspc.hex()
    assert document["claims"]["mrenclave"] == "11" * 32
    assert document["simulated"] is True


def test_the_policy_rejects_what_is_genuine() -> None:
    stage = TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00001",))
    document = judged(stage=stage)
    assert list(document) == [*KEYS, "reason", "conditions"]
    (condition,) = document["conditions"]
    assert (condition["path"], condition["expected"]) == ("tcb.accept", "UpToDate")
    assert condition["seen"] == "OutOfDate (INTEL-SA-00001)"
    assert (document["genuine"], document["verdict"], document["tcb_status"]) == (True, "reject", "OutOfDate")
    assert document["advisories"] == ["INTEL-SA-00001"]
    assert set(document["reason"]) == {"code", "text", "hint"}
    assert document["reason"]["code"] == "tcb-not-accepted"
    assert document["claims"]["isvsvn"] == 3


def test_without_a_policy_genuine_is_enough() -> None:
    debug = replace(FORGE, enclave=replace(ENCLAVE, attributes=Attributes(0x07, 0xE7)))
    stage = TcbStage(status=TcbStatus.OUT_OF_DATE)
    assert judged(debug, stage)["verdict"] == "reject"
    assert judged(debug, stage, None)["verdict"] == "accept"


def test_revoked_is_not_genuine_but_its_status_is_said() -> None:
    for policy in (None, OPERATOR_NAMED):
        document = judged(stage=TcbStage(status=TcbStatus.REVOKED, advisories=("A",)), policy=policy)
        assert (document["genuine"], document["verdict"], document["tcb_status"]) == (False, "reject", "Revoked")
        assert (document["advisories"], document["reason"]["code"]) == (["A"], "tcb-revoked")
        assert document["claims"] is None


def test_of_evidence_that_is_not_genuine_nothing_is_repeated() -> None:
    parts = Collateral.from_json(FORGE.documents())
    document = appraise(FORGE.quote(), parts, [INTEL_ROOT], NOW, None).as_json()
    assert (document["genuine"], document["verdict"], document["tee"]) == (False, "reject", "sgx")
    assert document["reason"]["code"] == "root-untrusted"
    assert document["claims"] is document["tcb_status"] is document["fmspc"] is document["simulated"] is None
    cut = appraise(FORGE.quote()[:200], parts, [INTEL_ROOT], NOW, None)
    assert (cut.tee, cut.as_json()["reason"]["code"]) == ("sgx", "quote-truncated")  # its header is whole
    assert appraise(bytes(200), parts, [INTEL_ROOT], NOW, None).tee is None
    empty = appraise(b"", parts, [INTEL_ROOT], NOW, None)
    assert empty == Appraisal(genuine=False, accepted=False, reason=empty.reason)
    assert empty.as_json()["reason"]["code"] == "evidence-empty"


def test_trust_domains_are_judged_like_enclaves() -> None:
    verdicts = {}
    for name in ("tdx-v4-uptodate", "tdx-v4-debug", "tdx-v4-module-outofdate", "neg-tcbinfo-sgx-for-tdx"):
        one = case(next(entry for entry in index() if entry["set"] == f"ownpki/{name}"))
        parts = Collateral.from_json(one.document)
        document = appraise(one.quote, parts, one.roots, one.at, OPERATOR_NAMED).as_json()
        assert document["tee"] == "tdx"
        verdicts[name] = (document["genuine"], document.get("reason", {"code": None})["code"])
    assert verdicts == {
        "tdx-v4-uptodate": (True, None),
        "tdx-v4-debug": (True, "debug-not-allowed"),
        "tdx-v4-module-outofdate": (True, "tcb-not-accepted"),
        "neg-tcbinfo-sgx-for-tdx": (False, "tcb-info-tee"),
    }


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1768435200", datetime(2026, 1, 15, tzinfo=UTC)),
        ("2026-01-15T00:00:00Z", datetime(2026, 1, 15, tzinfo=UTC)),
        ("2026-01-15", datetime(2026, 1, 15, tzinfo=UTC)),
        ("2026-01-15T02:00:00+02:00", datetime(2026, 1, 15, tzinfo=UTC)),
    ],
)
def test_times_are_read(text: str, instant: datetime) -> None:
    assert parse_time(text) == instant
    assert parse_time(text).tzinfo == UTC


@pytest.mark.parametrize("text", ["", "soon", "-5", "1e9", "999999999999", "0001-01-01T00:00:00+23:00", "٣"])
def test_what_is_no_time_is_malformed(text: str) -> None:
    assert code_of(lambda: parse_time(text)) == "time-syntax"


def test_roots_are_read_in_der_and_pem() -> None:
    root = FORGE.pki.root.certificate
    assert parse_root(root.der) == parse_root(b"\n" + root.pem().encode()) == FORGE.root
    assert code_of(lambda: parse_root(FORGE.pki.pck_chain_pem().encode())) == "root-pem"
    assert code_of(lambda: parse_root(b"")) == "certificate-syntax"


def test_policies_are_read_in_json_and_yaml() -> None:
    expected = AppraisalPolicy(minimum_evaluation_number=17)
    assert parse_policy(b'{"tcb": {"minimumEvaluationNumber": 17}}') == expected
    assert parse_policy(b"tcb:\n  minimumEvaluationNumber: 17\n") == expected
    assert parse_policy(b"{}") == AppraisalPolicy()
    assert code_of(lambda: parse_policy(b"")) == "appraisal-policy-json"
    assert code_of(lambda: parse_policy(b"tcb: {accept: [UpToDate], accept: [OutOfDate]}")) == "yaml-duplicate-key"
    assert code_of(lambda: parse_policy(b"tcb:\n  minimumDate: 2025-01-01\n")) == "yaml-ambiguous"
    assert code_of(lambda: parse_policy(b"text")) == "appraisal-policy-field"


def test_the_example_of_the_reference_is_read_and_names_every_section() -> None:
    page = (ROOT / "docs" / "reference" / "appraisal-policy.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    read = parse_policy(example.encode())
    assert [rule.tee for rule in read.tees] == ["sgx", "tdx", "snp"]
    assert [waiver.advisory for waiver in read.waive] == ["INTEL-SA-00615"]
    assert read.maximum_age == timedelta(days=30)
    for tee, fields in TEES.items():
        for name in fields:
            first, _, last = name.partition("rtmr")
            assert f"`{name}`" in page or (not first and last in "0123"), f"{tee}.{name} is not described"


def test_collateral_is_read() -> None:
    assert parse_collateral(json.dumps(FORGE.documents()).encode()) == Collateral.from_json(FORGE.documents())
    assert code_of(lambda: parse_collateral(b"{")) == "collateral-json"
    assert code_of(lambda: parse_collateral(b"[]")) == "collateral-field"
