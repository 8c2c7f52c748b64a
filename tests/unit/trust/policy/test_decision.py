from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from kloister.errors import Denied, Misused
from kloister.formats.dcap import TcbStatus
from kloister.formats.sgx import Attributes, Flag
from kloister.simulator.documents import TcbStage
from kloister.trust.evidence import VerifiedSgx
from kloister.trust.policy import reasons
from kloister.trust.policy.decision import Decision, decide
from tests.support.broker import policy
from tests.support.evidence import ENCLAVE, NOW, Forge

SIGNER = {"mrsigner": "22" * 32, "isvprodid": 7, "isvsvn": 3}
WAIVER = {"advisory": "INTEL-SA-00615", "until": "2026-06-15", "reason": "planned"}
FORGE = Forge()


def verified(stage: TcbStage | None = None, **enclave: Any) -> VerifiedSgx:
    forge = dataclasses.replace(FORGE, enclave=dataclasses.replace(ENCLAVE, **enclave))
    return forge.verify(forge.documents(stage))


def failed(path: str, value: Any, evidence: VerifiedSgx, service: str = "app") -> list[tuple[str, str]]:
    return [(one.code, one.path) for one in decide(policy(path, value), evidence, service, NOW).failed]


def test_the_wanted_enclave_is_allowed_and_nothing_else_is_needed() -> None:
    decision = decide(policy(), verified(), "app", NOW)
    assert decision.allowed
    assert decision.alternative == 0
    assert decision.enforce().name == "inference"


def test_the_signer_with_product_and_version_is_allowed() -> None:
    assert failed("attestation.any.0.sgx", SIGNER, verified()) == []
    assert failed("attestation.any.0.sgx", SIGNER, verified(isvsvn=9)) == []


DEBUG = Attributes(ENCLAVE.attributes.flags | Flag.DEBUG, ENCLAVE.attributes.xfrm)
OUT_OF_DATE = TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00615", "INTEL-SA-00614"))
HARDENING = TcbStage(status=TcbStatus.SW_HARDENING_NEEDED, advisories=("INTEL-SA-00615",))


@pytest.mark.parametrize(
    ("path", "value", "evidence", "expected"),
    [
        ("", None, {"mrenclave": bytes(32)}, [("measurement-not-allowed", "attestation.any[0].sgx.mrenclave")]),
        ("attestation.any", [], {}, [("measurement-not-allowed", "attestation.any")]),
        ("", None, {"attributes": DEBUG}, [("debug-not-allowed", "attestation.any[0].sgx.debug")]),
        (
            "attestation.any.0.sgx",
            SIGNER,
            {"mrsigner": bytes(32)},
            [("signer-not-allowed", "attestation.any[0].sgx.mrsigner")],
        ),
        ("attestation.any.0.sgx", SIGNER, {"isvprodid": 8}, [("signer-product", "attestation.any[0].sgx.isvprodid")]),
        ("attestation.any.0.sgx", SIGNER, {"isvsvn": 2}, [("signer-svn", "attestation.any[0].sgx.isvsvn")]),
        ("attestation.simulated", "deny", {}, [("simulated-not-allowed", "attestation.simulated")]),
        ("attestation.simulated", None, {}, [("simulated-not-allowed", "attestation.simulated")]),
        ("", None, {"stage": OUT_OF_DATE}, [("tcb-not-accepted", "attestation.tcb.accept")]),
        ("attestation.tcb", {"accept": []}, {}, [("tcb-not-accepted", "attestation.tcb.accept")]),
        ("attestation.tcb", {"accept": ["OutOfDate"]}, {"stage": OUT_OF_DATE}, []),
        ("attestation.tcb", {"waive": [WAIVER]}, {"stage": HARDENING}, []),
        (
            "attestation.tcb",
            {"waive": [WAIVER]},
            {"stage": OUT_OF_DATE},
            [("tcb-not-accepted", "attestation.tcb.accept")],
        ),
        (
            "attestation.tcb",
            {"waive": [{**WAIVER, "until": "2026-06-14"}]},
            {"stage": HARDENING},
            [("tcb-not-accepted", "attestation.tcb.accept"), ("waiver-expired", "attestation.tcb.waive[0].until")],
        ),
        (
            "attestation.tcb",
            {"waive": [WAIVER]},
            {"stage": TcbStage(status=TcbStatus.OUT_OF_DATE)},
            [("tcb-not-accepted", "attestation.tcb.accept")],
        ),
        (
            "attestation.any.0",
            {"sgx": {"mrenclave": "11" * 32}, "retire": "2026-06-14"},
            {},
            [("alternative-retired", "attestation.any[0].retire")],
        ),
        ("attestation.any.0", {"sgx": {"mrenclave": "11" * 32}, "retire": "2026-06-15"}, {}, []),
    ],
)
def test_each_condition_has_its_code_and_path(
    path: str, value: Any, evidence: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert failed(path, value, verified(**evidence)) == expected


def test_every_failed_condition_is_listed_the_closest_alternative_first() -> None:
    alternatives = [{"sgx": SIGNER}, {"sgx": {"mrenclave": "33" * 32}}]
    evidence = verified(mrsigner=bytes(32), isvsvn=1, isvprodid=1)
    decision = decide(policy("attestation.any", alternatives), evidence, "nobody", NOW)
    assert [(one.code, one.path) for one in decision.failed] == [
        ("service-unknown", "services"),
        ("measurement-not-allowed", "attestation.any[1].sgx.mrenclave"),
        ("signer-not-allowed", "attestation.any[0].sgx.mrsigner"),
        ("signer-product", "attestation.any[0].sgx.isvprodid"),
        ("signer-svn", "attestation.any[0].sgx.isvsvn"),
    ]
    assert decision.alternative is None
    assert (decision.failed[1].expected, decision.failed[1].seen) == ("33" * 32, "11" * 32)
    assert "11" * 32 in decision.failed[1].allow


def test_a_second_alternative_is_enough() -> None:
    decision = decide(
        policy("attestation.any", [{"sgx": {"mrenclave": "33" * 32}}, {"sgx": SIGNER}]), verified(), "app", NOW
    )
    assert decision.alternative == 1


def test_debug_is_allowed_only_where_the_policy_says_so() -> None:
    wanted = {"mrenclave": "11" * 32, "debug": True}
    assert failed("attestation.any.0.sgx", wanted, verified(attributes=DEBUG)) == []
    assert failed("attestation.any.0.sgx", wanted, verified()) == []


def test_without_a_policy_nobody_gets_anything() -> None:
    decision = decide(None, verified(), "app", NOW)
    assert not decision.allowed
    with pytest.raises(Denied) as caught:
        decision.enforce()
    assert caught.value.code == "policy-unknown"
    assert "kloister policy apply" in caught.value.hint


def test_a_refusal_says_expected_and_seen() -> None:
    with pytest.raises(Denied) as caught:
        decide(policy(), verified(mrenclave=bytes(32)), "app", NOW).enforce()
    assert caught.value.code == "measurement-not-allowed"
    assert f"expected {'11' * 32}, seen {'00' * 32}" in caught.value.text


def test_a_waiver_ends_with_its_day_in_utc() -> None:
    wanted = policy("attestation.tcb", {"waive": [WAIVER]})
    evidence = verified(stage=HARDENING)
    assert decide(wanted, evidence, "app", NOW.replace(hour=23, minute=59)).allowed
    assert not decide(wanted, evidence, "app", NOW + timedelta(days=1)).allowed


def test_nobody_else_makes_a_decision() -> None:
    allowed = decide(policy(), verified(), "app", NOW)
    with pytest.raises(Misused) as caught:
        dataclasses.replace(allowed, seal=object())
    assert caught.value.code == "decision-made-elsewhere"
    assert isinstance(allowed, Decision)


def test_every_code_that_a_decision_gives_is_explained() -> None:
    for code in ("measurement-not-allowed", "debug-not-allowed", "waiver-expired", "service-unknown", "signer-svn"):
        assert code in reasons.codes()
        assert reasons.describe(code).text
        assert reasons.describe(code).allow
    assert reasons.describe("no-such-code").text == ""
