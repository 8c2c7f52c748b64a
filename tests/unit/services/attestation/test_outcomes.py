from __future__ import annotations

from typing import Any

import pytest

from kloister.errors import KloisterError
from kloister.services.attestation.policies import ActivePolicy
from kloister.trust.policy.maa import default_policy

DEFAULT = default_policy("SgxEnclave") or ""
ADMIT = (
    'version=1.0; authorizationrules{[type=="x-ms-sgx-svn", value==1] => permit();};'
    'issuancerules{c:[type=="kloister-advisories"] => issue(type="advisory", value=c.value);'
    ' c:[type=="x-ms-sgx-ehd"] => issue(type="held", value=c.value);};'
)
ANY = 'version=1.0; authorizationrules{[value=="yes"] => permit();}; issuancerules{};'
CLAIMS: dict[str, Any] = {"x-ms-sgx-svn": 1, "x-ms-sgx-mrsigner": "aa", "x-ms-sgx-report-data": "00"}


@pytest.mark.parametrize("again", [{}, {"x-ms-sgx-report-data": "ff"}])
def test_what_was_found_once_is_not_evaluated_again(again: dict[str, Any]) -> None:
    outcomes = ActivePolicy.of_text(DEFAULT).outcomes
    first = outcomes.of(CLAIMS)
    assert first == {"sgx-mrsigner": "aa", "svn": 1}
    assert outcomes.of({**CLAIMS, **again}) is first


@pytest.mark.parametrize(
    "other",
    [{"x-ms-sgx-svn": 2}, {"x-ms-sgx-svn": True}, {"x-ms-sgx-svn": "1"}, {"x-ms-sgx-svn": None}, {"x-ms-sgx-svn": 1.0}],
)
def test_claims_that_differ_are_judged_by_themselves(other: dict[str, Any]) -> None:
    outcomes = ActivePolicy.of_text(ADMIT).outcomes
    for _ in range(2):
        assert outcomes.of(CLAIMS) == {}
        with pytest.raises(KloisterError) as refused:
            outcomes.of({**CLAIMS, **other})
        assert refused.value.code == "maa-not-permitted"


@pytest.mark.parametrize(
    ("claims", "issued"),
    [
        ({"kloister-advisories": ["SA-1", "SA-2"]}, {"advisory": ["SA-1", "SA-2"]}),
        ({"kloister-advisories": "SA-1"}, {"advisory": "SA-1"}),
        ({"x-ms-sgx-ehd": "a" * 5000}, {"held": "a" * 5000}),
    ],
)
def test_lists_and_long_values_count_too(claims: dict[str, Any], issued: dict[str, Any]) -> None:
    outcomes = ActivePolicy.of_text(ADMIT).outcomes
    for _ in range(2):
        assert outcomes.of(CLAIMS) == {}
        assert outcomes.of({**CLAIMS, **claims}) == issued


def test_a_policy_that_may_ask_for_anything_is_always_evaluated() -> None:
    outcomes = ActivePolicy.of_text(ANY).outcomes
    assert outcomes.of({"a": "yes"}) == {}
    with pytest.raises(KloisterError):
        outcomes.of({"a": "no"})


def test_more_than_are_remembered_are_still_right() -> None:
    outcomes = ActivePolicy.of_text(DEFAULT).outcomes
    for number in [*range(600), *range(600)]:
        assert outcomes.of({"x-ms-sgx-svn": number}) == {"svn": number}
