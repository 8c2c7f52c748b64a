from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
from kloister.formats.tokens.ear import Ear, EarAppraisal, Profile, Tier, TrustVector

VALUES = st.none() | st.integers(-128, 127)
VECTORS = st.builds(
    TrustVector, instance_identity=VALUES, configuration=VALUES, executables=VALUES, file_system=VALUES,
    hardware=VALUES, runtime_opaque=VALUES, storage_opaque=VALUES, sourced_data=VALUES,
)  # fmt: skip
PARTS = st.builds(
    lambda vector, policies, more: EarAppraisal(vector=vector, status=vector.status, policies=policies, more=more),
    VECTORS,
    st.lists(st.text(max_size=8), max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(["kloister-tcb-status", "x"]), st.integers(), max_size=2),
)
EARS = st.builds(
    Ear, profile=st.sampled_from(Profile), issued=st.integers(0, 2**33), expires=st.none() | st.integers(0, 2**33),
    developer=st.text(max_size=9), build=st.text(max_size=9),
    parts=st.dictionaries(st.text(max_size=5), PARTS, min_size=1, max_size=3),
    nonce=st.none() | st.text("abc-", min_size=8, max_size=88), evidence=st.none() | st.binary(max_size=9),
)  # fmt: skip
# Figure 3 of draft-ietf-rats-ear-04
PSA = {
    "eat_profile": "tag:ietf.org,2026:rats/ear#04",
    "iat": 1666529184,
    "ear_verifier_id": {"developer": "https://veraison-project.org", "build": "vts 0.0.1"},
    "ear_raw_evidence": "NzQ3MjY5NzM2NTYzNzQK",
    "submods": {
        "PSA": {
            "ear_status": "contraindicated",
            "ear_trustworthiness_vector": {"instance-identity": 2, "executables": 96, "hardware": 2},
            "ear_appraisal_policy_ids": ["https://veraison.example/policy/1/60a0068d"],
        }
    },
}


@given(EARS)
def test_what_is_built_reads_the_same(ear: Ear) -> None:
    if ear.profile is Profile.VERAISON:  # whose names hold one policy
        ear = replace(ear, parts={name: replace(one, policies=one.policies[:1]) for name, one in ear.parts.items()})
    claims = json.loads(json.dumps(ear.build_claims()))
    again = Ear.parse_claims(claims)
    assert again.build_claims() == claims
    assert (again.issued, again.nonce, again.evidence, dict(again.parts)) == (
        ear.issued, ear.nonce, ear.evidence, ear.parts,
    )  # fmt: skip


def test_the_draft_s_example() -> None:
    ear = Ear.parse_claims(PSA)
    part = ear.parts["PSA"]
    assert (ear.profile, ear.build, ear.evidence) == (Profile.IETF, "vts 0.0.1", b"74726973656374\n")
    assert part.vector == TrustVector(instance_identity=2, executables=96, hardware=2)
    assert (part.status, part.policies) == (Tier.CONTRAINDICATED, ("https://veraison.example/policy/1/60a0068d",))
    assert ear.build_claims() == PSA


def test_veraison_s_names() -> None:
    claims = replace(Ear.parse_claims(PSA), profile=Profile.VERAISON).build_claims()
    assert claims["eat_profile"] == "tag:github.com,2023:veraison/ear"
    assert set(claims) == {"eat_profile", "iat", "ear.verifier-id", "ear.raw-evidence", "submods"}
    assert claims["submods"]["PSA"] == {
        "ear.status": "contraindicated",
        "ear.trustworthiness-vector": {"instance-identity": 2, "executables": 96, "hardware": 2},
        "ear.appraisal-policy-id": "https://veraison.example/policy/1/60a0068d",
    }


@pytest.mark.parametrize(
    ("tier", "values"),
    [
        (Tier.NONE, [-1, 0, 1]),
        (Tier.AFFIRMING, [2, 31, -2, -32]),
        (Tier.WARNING, [32, 95, -33, -96]),
        (Tier.CONTRAINDICATED, [96, 127, -97, -128]),
    ],
)
def test_the_tiers(tier: Tier, values: list[int]) -> None:
    assert {Tier.of(value) for value in values} == {tier}


def test_the_worst_counts() -> None:
    assert TrustVector().status is Tier.NONE
    assert TrustVector(hardware=0, executables=2).status is Tier.AFFIRMING
    assert TrustVector(hardware=32, executables=2).status is Tier.WARNING
    assert TrustVector(hardware=32, executables=96).status is Tier.CONTRAINDICATED


@pytest.mark.parametrize(
    ("vector", "status"),
    [
        (TrustVector(hardware=96), Tier.WARNING),
        (TrustVector(hardware=96), Tier.NONE),
        (TrustVector(hardware=32), Tier.AFFIRMING),
        (TrustVector(hardware=0), Tier.AFFIRMING),
    ],
)
def test_a_status_says_no_more_than_its_vector(vector: TrustVector, status: Tier) -> None:
    with pytest.raises(Misused):
        EarAppraisal(vector=vector, status=status)
    claims = json.loads(json.dumps(PSA))
    claims["submods"]["PSA"] |= {"ear_status": str(status), "ear_trustworthiness_vector": vector.as_json()}
    assert refusal(claims) == "ear-field"


def test_a_status_may_say_less() -> None:
    for status in (Tier.NONE, Tier.WARNING, Tier.CONTRAINDICATED):
        EarAppraisal(vector=TrustVector(hardware=2), status=status)
    EarAppraisal(vector=TrustVector(), status=Tier.AFFIRMING)


def refusal(claims: Any) -> str:
    with pytest.raises(Malformed) as refused:
        Ear.parse_claims(claims)
    return refused.value.code


@pytest.mark.parametrize(
    "change",
    [
        {"eat_profile": "tag:github.com,2024:x"},
        {"eat_profile": None},
        {"iat": 1.5},
        {"iat": True},
        {"iat": -1},
        {"exp": "soon"},
        {"ear_verifier_id": None},
        {"ear_verifier_id": {"developer": "x"}},
        {"ear_verifier_id": {"developer": "x", "build": "y" * 1025}},
        {"submods": {}},
        {"submods": []},
        {"submods": {str(number): {} for number in range(65)}},
        {"submods": {"a": 1}},
        {"submods": {"a": {"ear_status": "fine"}}},
        {"submods": {"a": {"ear_status": "none", "ear_trustworthiness_vector": {"hard": 2}}}},
        {"submods": {"a": {"ear_status": "none", "ear_trustworthiness_vector": {"hardware": 128}}}},
        {"submods": {"a": {"ear_status": "none", "ear_trustworthiness_vector": {"hardware": True}}}},
        {"submods": {"a": {"ear_status": "none", "ear_trustworthiness_vector": []}}},
        {"submods": {"a": {"ear_status": "none", "ear_appraisal_policy_ids": []}}},
        {"submods": {"a": {"ear_status": "none", "ear_appraisal_policy_ids": [1]}}},
        {"submods": {"a": {"ear_status": "none", "ear_appraisal_policy_ids": ["x"] * 17}}},
        {"eat_nonce": "short"},
        {"eat_nonce": "x" * 89},
        {"eat_nonce": 12345678},
        {"ear_raw_evidence": 1},
    ],
)
def test_what_is_not_as_it_must_be(change: dict[str, Any]) -> None:
    assert refusal(PSA | change) == "ear-field"


def test_evidence_is_base64url() -> None:
    assert refusal(PSA | {"ear_raw_evidence": "?"}) == "ear-base64url"
    assert Ear.parse_claims(PSA | {"ear_raw_evidence": "AA=="}).evidence == b"\0"


def test_a_result_has_a_part_and_a_fitting_nonce() -> None:
    ear = Ear.parse_claims(PSA)
    for wrong in (replace(ear, parts={}), replace(ear, nonce="short"), replace(ear, nonce="x" * 89)):
        with pytest.raises(Misused):
            wrong.build_claims()


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(
    st.sampled_from(["eat_profile", "iat", "submods", "ear_status", "ear_verifier_id", "a"]), inner | st.sampled_from(
        list(Profile)), max_size=4)))  # fmt: skip
def test_any_other_object_is_refused(value: Any) -> None:
    if isinstance(value, dict):
        assert refusal(value).startswith("ear-")
