from __future__ import annotations

from typing import Any

import pytest

from kloister.errors import Misused
from kloister.trust.policy.maa import (
    ATTESTATION_POLICY,
    ATTESTATION_SERVICE,
    CUSTOM_CLAIM,
    MAX_CLAIMS,
    Claim,
    MaaPolicyError,
    Outcome,
    configure,
    evaluate,
    parse_policy,
)

AS = ATTESTATION_SERVICE


def issue(rules: str, *incoming: Claim, **options: Any) -> Outcome:
    policy = f"version=1.2;authorizationrules{{=>permit();}};issuancerules{{{rules}}};"
    return evaluate(parse_policy(policy), incoming, **options)


def holds(conditions: str, *incoming: Claim) -> bool:
    return bool(issue(f'{conditions}=>issue(type="r",value=1);', *incoming).issued)


def refusal(rules: str, *incoming: Claim, **options: Any) -> MaaPolicyError:
    with pytest.raises(MaaPolicyError) as refused:
        issue(rules, *incoming, **options)
    return refused.value


ONE, TEXT, YES = Claim("n", 1, AS), Claim("s", "b", AS), Claim("b", True, AS)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('[type=="n",value==1]', True),
        ('[type=="n",value==2]', False),
        ('[type=="n",value!=2]', True),
        ('[type=="n",value!=1]', False),
        ('[type=="n",value<1]', False),
        ('[type=="n",value<2]', True),
        ('[type=="n",value<=1]', True),
        ('[type=="n",value<=0]', False),
        ('[type=="n",value>1]', False),
        ('[type=="n",value>0]', True),
        ('[type=="n",value>=1]', True),
        ('[type=="n",value>=2]', False),
        ('[type=="n",value==true]', False),
        ('[type=="n",value=="1"]', False),
        ('[type=="n",value!="1"]', True),
        ('[type=="n",value!=true]', True),
        ('[type=="s",value=="b"]', True),
        ('[type=="s",value=="B"]', False),
        ('[type=="s",value!="a"]', True),
        ('[type=="s",value!="b"]', False),
        ('[type=="s",value==1]', False),
        ('[type=="s",value>=0]', False),
        ('[type=="b",value==true]', True),
        ('[type=="b",value!=true]', False),
        ('[type=="b",value==1]', False),
        ('[type=="b",value>=0]', False),
        ('[type=="b",valueType=="Boolean"]', True),
        ('[type=="n",valueType=="Integer"]', True),
        ('[type=="s",valueType!="String"]', False),
        ('[type=="N"]', False),
        ('[type!="n",value==1]', False),
        ("[value==1]", True),
        ('[value=="b",type=="s"]', True),
        ('[issuer=="AttestationService",valueType=="Boolean"]', True),
        ('[issuer=="CustomClaim"]', False),
        ("[type==1]", False),
        ('[type=="n",type=="s"]', False),
        ('[type=="n",value>0,value<2]', True),
        ('[type=="n"] && [type=="s"]', True),
        ('[type=="n"] && [type=="q"]', False),
        ('![type=="n"]', False),
        ('![type=="q"]', True),
        ('![type=="n",value==2]', True),
        ('c:[type=="n"] && [type=="n",value==c.value]', True),
        ('c:[type=="n"] && [type=="b",value==c.value]', False),
        ('c:[type=="n"] && ![type=="s",value==c.value]', True),
        ('c:[type=="n"] && [type=="n",type==c.type,issuer==c.issuer,valueType==c.valueType,value>=c.value]', True),
        ('c:[type=="n"] && [type=="s",value>c.value]', False),
        ('[type=="b",value==NegateBool(false)]', True),
        ('[type=="b",value==NegateBool(true)]', False),
        ('[value==JsonToClaimValue("null")]', False),
        ('[value!=JsonToClaimValue("null")]', False),
    ],
)  # fmt: skip
def test_conditions(condition: str, expected: bool) -> None:  # noqa: FBT001 -- a table's column
    assert holds(condition, ONE, TEXT, YES) is expected


def test_any_of_several_bound_values_may_fit() -> None:
    many = [Claim("a", 1, AS), Claim("a", 2, AS), Claim("b", 2, AS)]
    assert holds('c:[type=="a"] && [type=="b",value==c.value]', *many)
    assert holds('c:[type=="a"] && [type=="b",value>c.value]', *many)
    assert holds('c:[type=="a"] && [type=="b",value!=c.value]', *many)
    assert not holds('c:[type=="a"] && [type=="b",value<c.value]', *many)


def test_texts_and_booleans_have_no_order() -> None:
    for name in ("s", "b"):
        refused = refusal(f'c:[type=="{name}"] && [type=="{name}",value>=c.value]=>issue(type="r",value=1);', TEXT, YES)
        assert refused.code == "maa-evaluation"
        assert "compares integers only" in refused.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("$is-debuggable", "x-ms-sgx-is-debuggable"),
        ("$product-id", "x-ms-sgx-product-id"),
        ("$sgx-mrsigner", "x-ms-sgx-mrsigner"),
        ("$sgx-mrenclave", "x-ms-sgx-mrenclave"),
        ("$svn", "x-ms-sgx-svn"),
        ("$tee", "x-ms-attestation-type"),
        ("$maa-ehd", "x-ms-sgx-ehd"),
        ("$aas-ehd", "x-ms-sgx-ehd"),
        ("$maa-attestationcollateral", "x-ms-sgx-collateral"),
    ],
)
def test_old_policies_find_claims_by_their_old_names(old: str, new: str) -> None:
    outcome = issue(f'c:[type=="{old}"]=>issue(type="r",value=c.value);', Claim(new, "v", AS))
    assert outcome.token_claims == {"r": "v"}
    assert not holds(f'[type=="{old}"]', Claim(old, "v", CUSTOM_CLAIM))


def test_a_claim_of_unknown_origin_is_a_client_s() -> None:
    assert Claim("a", 1).issuer == CUSTOM_CLAIM
    assert holds('[type=="a",issuer=="CustomClaim"]', Claim("a", 1))


def test_the_three_sets() -> None:
    outcome = issue(
        '=>add(type="a",value=1); =>issue(type="b",value=2); =>issueproperty(type="c",value=3);'
        '[type=="a"]&&[type=="b"]&&[type=="c",issuer=="AttestationPolicy"]=>issue(type="all",value=true);'
    )
    assert outcome.token_claims == {"b": 2, "all": True}
    assert outcome.property_values == {"c": 3}
    assert {one.issuer for one in (*outcome.issued, *outcome.properties)} == {ATTESTATION_POLICY}


def test_what_authorization_adds_is_seen_by_later_rules_of_both_kinds() -> None:
    policy = parse_policy(
        'version=1.0;issuancerules{[type=="a"]=>issue(type="r",value=1);};'
        'authorizationrules{[type=="a"]=>deny(); =>add(type="a",value=1); [type=="a"]=>permit();};'
    )
    assert evaluate(policy, []).token_claims == {"r": 1}


def test_configuration_is_seen_by_all() -> None:
    policy = parse_policy(
        'version=1.1;authorizationrules{[type=="p",value=="x"]=>permit();};'
        'configurationrules{c:[type=="n"]=>issueproperty(type="p",value="x");};'
    )
    assert evaluate(policy, [ONE]).permitted
    assert not evaluate(policy, []).permitted
    assert configure(policy, [ONE]) == (Claim("p", "x", ATTESTATION_POLICY),)
    assert configure(policy) == ()


def test_several_values_make_several_claims_in_order() -> None:
    many = [Claim("a", 2, AS), Claim("a", 1, AS), Claim("a", 1, CUSTOM_CLAIM)]
    outcome = issue('c:[type=="a"]=>issue(type="r",value=c.value);', *many)
    assert outcome.token_claims == {"r": [2, 1, 1]}


def test_copies_keep_their_issuer() -> None:
    outcome = issue('c:[issuer=="AttestationService"]=>issue(claim=c);', ONE, TEXT, Claim("x", 1))
    assert outcome.issued == (ONE, TEXT)


def test_what_a_set_holds_is_not_added_again() -> None:
    twice = '=>issue(type="r",value=1); =>issue(type="r",value=1); =>issue(type="r",value=true);'
    assert [one.value for one in issue(twice).issued] == [1, True]
    assert issue('=>issue(type="r",value=JsonToClaimValue("[1,1]"));').token_claims == {"r": [1, 1]}
    again = 'c:[type=="n"]=>add(claim=c); c:[type=="n"]=>issue(type="r",value=c.value);'
    assert issue(again, ONE).token_claims == {"r": 1}


def test_the_type_of_a_new_claim_is_one_text() -> None:
    both = [Claim("a", 1, AS), Claim("b", 2, AS)]
    one_type = 'c:[type=="a"]=>issue(type=c.type,value="x");'
    assert issue(one_type, *both).token_claims == {"a": "x"}
    for rule in (
        'c:[issuer=="AttestationService"]=>issue(type=c.type,value=1);',
        'c:[type=="a"]=>issue(type=c.value,value=1);',
        '=>issue(type="",value=1);',
        "=>issue(type=1,value=1);",
        '=>issue(type=JsonToClaimValue("null"),value=1);',
    ):
        assert refusal(rule, *both).code == "maa-evaluation"


def test_a_value_type_must_be_the_value_s() -> None:
    for value, kind in (("1", "Integer"), ('"1"', "String"), ("true", "Boolean")):
        assert issue(f'=>issue(type="r",value={value},valueType="{kind}",issuer="AttestationPolicy");').issued
    for value, kind in (("true", "Integer"), ("1", "Boolean"), ("1", "integer")):
        refused = refusal(f'=>issue(type="r",value={value},valueType="{kind}");')
        assert (refused.code, "valueType" in refused.text) == ("maa-evaluation", True)


def test_read_only_claims_stay() -> None:
    pcrs = Claim("pcrs", "[1]", AS)
    for rule in (
        'c:[type=="pcrs"]=>issue(claim=c);',
        'c:[type=="pcrs"]=>issue(type="r",value=c.value);',
        'c:[type=="pcrs"]=>issue(type="r",value=JmesPath(c.value,"[0]"));',
        'c:[type=="pcrs"]=>issue(type="r",value=JsonToClaimValue(JmesPath(c.value,"[0]")));',
        'c:[type=="pcrs"]=>issue(type="r",value=AppendString("a",c.value));',
        'c:[type=="pcrs"]=>issue(type="r",value=NegateBool(JsonToClaimValue(JmesPath(c.value,"!@"))));',
        'c:[type=="pcrs"]=>add(type="t",value=c.value); c:[type=="t"]=>issue(type="r",value=c.value);',
        'c:[type=="pcrs"]=>add(type="t",value=c.value); c:[type=="t"]=>issue(claim=c);',
    ):
        assert refusal(rule, pcrs).code == "maa-read-only"
        assert issue(rule, Claim("pcrs", "[1]", CUSTOM_CLAIM)).issued, rule
    assert refusal('c:[type=="x"]=>issue(claim=c);', Claim("x", 1, AS, read_only=True)).code == "maa-read-only"
    for rule in (
        'c:[type=="pcrs"]=>issue(type="r",value=IsSubsetOf(c.value,c.value));',
        'c:[type=="pcrs"]=>issue(type="r",value=ContainsOnlyValue(c.value,c.value));',
        'c:[type=="pcrs"]=>issue(type="r",value=c.type);',
        'c:[type=="pcrs"]=>issueproperty(claim=c);',
        'c:[type=="pcrs",value!="x"]=>issue(type="r",value=true);',
    ):
        assert issue(rule, pcrs).permitted


def test_a_refusal_is_an_outcome_and_check_raises_it() -> None:
    text = "A Deny claim was issued, authorization failed."
    for rules, denied, code in (("=>deny();=>permit();", True, "maa-denied"), ("", False, "maa-not-permitted")):
        outcome = evaluate(
            parse_policy(f'version=1.0;authorizationrules{{{rules}}};issuancerules{{=>issue(type="r",value=1);}};'), []
        )
        assert (outcome.permitted, outcome.denied, outcome.issued) == (False, denied, ())
        with pytest.raises(MaaPolicyError) as refused:
            outcome.check()
        assert (refused.value.code, refused.value.text) == (code, text)
    permitted = issue("")
    assert (permitted.permitted, permitted.denied) == (True, False)
    permitted.check()


def test_an_error_names_its_rule() -> None:
    refused = refusal('\n =>issue(type="a",value=1);\n  =>issue(type="",value=1);')
    assert refused.place is not None
    assert (refused.place.line, refused.place.column) == (3, 3)
    assert refused.text.startswith("In the rule at line 3: The type of a new claim")


def test_claims_are_texts_integers_and_booleans() -> None:
    others: list[Any] = [{}, None, 1.5, b"a", []]
    for value in others:
        with pytest.raises(Misused) as refused:
            Claim("a", value)
        assert refused.value.code == "maa-claim-value"


def test_a_set_holds_5000_claims() -> None:
    full = [Claim("a", number, AS) for number in range(MAX_CLAIMS)]
    assert issue("", *full).permitted
    assert issue('c:[type=="a"]=>issue(claim=c);', *full).permitted
    with pytest.raises(MaaPolicyError) as refused:
        issue("", *full, ONE)
    assert refused.value.code == "maa-limit"
    assert refusal('=>add(type="x",value=1);', *full).code == "maa-limit"
    many = "[" + ",".join(map(str, range(MAX_CLAIMS))) + "]"
    assert refusal(f'=>issueproperty(type="x",value=JsonToClaimValue("{many}"));', ONE).code == "maa-limit"


def test_work_is_bounded_by_steps() -> None:
    many = [Claim("a", number, AS) for number in range(1000)]
    square = 'c:[type=="a"] && [type=="a",value==c.value] =>issue(type="r",value=1);'
    assert issue(square, *many, steps=1_010_000).permitted
    assert refusal(square, *many, steps=1_000_000).code == "maa-limit"
    assert refusal('=>add(type="a",value=1);' * 10, steps=15).code == "maa-limit"
    assert issue('=>add(type="a",value=1);' * 10, steps=21).permitted


def test_the_caller_is_told_of_steps_and_may_stop() -> None:
    taken: list[int] = []
    issue('[type=="n",value==1]=>issue(type="r",value=1);', ONE, spend=taken.append)
    assert sum(taken) == 4  # two rules, one comparison, one claim

    def stop(_: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        issue("", spend=stop)


def test_an_evaluation_leaves_nothing_behind() -> None:
    policy = parse_policy(
        'version=1.0;authorizationrules{=>permit();};issuancerules{c:[type=="n"]=>issue(type="n",value=2);};'
    )
    incoming = [ONE]
    assert evaluate(policy, incoming) == evaluate(policy, incoming)
    assert incoming == [ONE]
