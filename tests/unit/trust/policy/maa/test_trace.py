from __future__ import annotations

import json
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from kloister.trust.policy.maa import (
    ATTESTATION_SERVICE,
    Claim,
    MaaPolicyError,
    Outcome,
    Policy,
    evaluate,
    parse_policy,
)
from kloister.trust.policy.maa.trace import Verdict
from tests.unit.trust.policy.maa.trees import policies

AS = ATTESTATION_SERVICE
POLICY = """version=1.2;
authorizationrules
{
    s:[type=="signer", value=="XX"] && [type=="svn", value>=s.value] && [type=="z"] => permit();
    [type=="svn", issuer=="AttestationService", value>=3] => permit();
    ![type=="debug"] => deny();
    => add(type="x", value=1);
};
"""
INCOMING = [Claim("signer", "AA", AS), Claim("svn", 2, AS), Claim("svn", 5), Claim("debug", False, AS)]
CLAIMS = st.lists(
    st.builds(Claim, st.sampled_from(["", "a", "x-ms-ver"]), st.integers(0, 2) | st.booleans() | st.text(max_size=2)),
    max_size=4,
)


def test_every_rule_says_what_became_of_it() -> None:
    outcome = evaluate(parse_policy(POLICY), INCOMING, trace=True)
    assert outcome.trace is not None
    first, second, third, fourth = outcome.trace
    assert [one.verdict for one in first.conditions] == [Verdict.FAILED, Verdict.NOT_JUDGED, Verdict.NOT_JUDGED]
    (miss,) = first.conditions[0].misses
    assert (miss.claim, miss.comparison) == (INCOMING[0], 'value=="XX"')
    assert [(one.claim.value, one.comparison) for one in second.conditions[0].misses] == [
        (2, "value>=3"),
        (5, 'issuer=="AttestationService"'),
    ]
    (negated,) = third.conditions
    assert (negated.verdict, negated.matched, negated.misses) == (Verdict.FAILED, (INCOMING[3],), ())
    assert [one.fired for one in outcome.trace] == [False, False, False, True]
    assert [one.value for one in fourth.made] == [1]
    assert (second.place.line, second.text) == (5, second.text.strip())
    assert not outcome.permitted


def test_a_type_that_is_not_there_has_no_misses() -> None:
    policy = parse_policy('version=1.0;authorizationrules{[type=="q",value==1]=>permit();};')
    (rule,) = evaluate(policy, INCOMING, trace=True).trace or ()
    assert (rule.conditions[0].verdict, rule.conditions[0].missed) == (Verdict.FAILED, 0)


def test_misses_are_counted_and_some_are_shown() -> None:
    policy = parse_policy('version=1.0;authorizationrules{[type=="a",value==100]=>permit();};')
    (rule,) = evaluate(policy, [Claim("a", number) for number in range(20)], trace=True).trace or ()
    assert (rule.conditions[0].missed, len(rule.conditions[0].misses)) == (20, 8)


def test_a_trace_is_json() -> None:
    outcome = evaluate(parse_policy(POLICY), INCOMING, trace=True)
    document = json.loads(json.dumps([one.as_json() for one in outcome.trace or ()]))
    assert document[0]["conditions"][0] == {
        "condition": 's:[type=="signer", value=="XX"]',
        "verdict": "failed",
        "matched": [],
        "missed": 1,
        "misses": [{"claim": INCOMING[0].as_json(), "comparison": 'value=="XX"'}],
    }
    assert document[3]["section"] == "authorizationrules"
    assert document[3]["made"][0]["valueType"] == "Integer"
    assert document[3]["fired"] is True


def result(policy: Policy, claims: list[Claim], *, trace: bool) -> Outcome | str:
    try:
        return evaluate(policy, claims, trace=trace)
    except MaaPolicyError as refused:
        return refused.code


@settings(max_examples=30)
@given(policies(), CLAIMS)
def test_a_trace_changes_nothing(policy: Policy, claims: list[Claim]) -> None:
    plain, traced = result(policy, claims, trace=False), result(policy, claims, trace=True)
    if isinstance(plain, str) or isinstance(traced, str):
        assert plain == traced
        return
    assert plain.trace is None
    assert (plain.permitted, plain.denied, plain.issued, plain.properties) == (
        traced.permitted, traced.denied, traced.issued, traced.properties,
    )  # fmt: skip


def test_the_language_is_imported_without_jmespath() -> None:
    probe = "import sys, kloister.trust.policy.maa; print('jmespath' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "False\n"
