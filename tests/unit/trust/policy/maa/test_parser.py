from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloister.trust.policy.maa import MAX_RULES, MAX_TEXT, MaaSyntaxError, parse_policy, print_policy
from kloister.trust.policy.maa.parser import MAX_INTEGER
from kloister.trust.policy.maa.tree import Comparison, Literal, Policy, Reference
from kloister.trust.policy.maa.words import Operator, Property, Verb, Version
from tests.unit.trust.policy.maa.trees import policies

GOOD = 'version=1.2;authorizationrules{c:[type=="a",value>=1] && ![type=="b"]=>permit();};issuancerules{};'


def issuing(action: str, version: str = "1.2", conditions: str = 'c:[type=="a"]') -> str:
    return f"version={version};authorizationrules{{}};issuancerules{{{conditions}=>{action};}};"


def refusal(text: str) -> MaaSyntaxError:
    with pytest.raises(MaaSyntaxError) as refused:
        parse_policy(text)
    assert refused.value.code == "maa-parsing"
    return refused.value


@settings(max_examples=30)
@given(policies())
def test_what_is_printed_parses_to_the_same_tree(policy: Policy) -> None:
    again = parse_policy(print_policy(policy))
    assert again == policy
    assert repr(again) == repr(policy)  # true is not 1
    assert print_policy(again) == print_policy(policy)


@settings(max_examples=100)
@given(st.text(st.sampled_from('versionauthozl=1.02;{}[]()"\\&>!:,c_ \n/')) | st.text())
def test_garbage_is_refused_with_a_place_inside_it(text: str) -> None:
    refused = refusal(text)
    lines = text.split("\n")
    assert 1 <= refused.place.line <= len(lines)
    assert 1 <= refused.place.column <= len(lines[refused.place.line - 1]) + 1


@settings(max_examples=15)
@given(policies(), st.data())
def test_a_cut_policy_is_refused_or_a_policy(policy: Policy, data: Any) -> None:
    text = print_policy(policy)
    cut = text[: data.draw(st.integers(0, len(text) - 1))].rstrip()
    if not cut.endswith("};"):
        refusal(cut)


def test_space_and_comments_may_stand_anywhere() -> None:
    spaced = GOOD.replace(";", ' ;\r\n\t// a comment; } "\n').replace("==", " == ").replace("=>", "\n=>\n")
    assert parse_policy(spaced) == parse_policy(GOOD)
    assert parse_policy(GOOD + "// the end") == parse_policy(GOOD)
    assert parse_policy(GOOD.replace("authorizationrules", "AuthorizationRules").replace("issuance", "Issuance"))


def test_the_parts_of_a_policy_are_found() -> None:
    policy = parse_policy(GOOD)
    (rule,) = policy.authorization
    first, second = rule.conditions
    assert (policy.version, policy.configuration, policy.issuance) == (Version.V1_2, (), ())
    assert (first.name, first.negated, second.name, second.negated) == ("c", False, None, True)
    assert first.comparisons[1] == Comparison(Property.VALUE, Operator.AT_LEAST, Literal(1))
    assert rule.action.verb is Verb.PERMIT
    assert (rule.place.line, rule.place.column) == (1, 32)


def test_strings_know_two_escapes() -> None:
    (rule,) = parse_policy(issuing(r'add(type="a", value="\\\"\\")')).issuance
    assert rule.action.value == Literal('\\"\\')
    (rule,) = parse_policy(issuing('add(type="a", value="\n// \u00fc\'[")')).issuance
    assert rule.action.value == Literal("\n// \u00fc'[")
    assert refusal(issuing(r'add(type="a", value="\n")')).symbol == '"'


def test_integers_have_63_bits() -> None:
    (rule,) = parse_policy(issuing(f'add(type="a", value=000{MAX_INTEGER})')).issuance
    assert rule.action.value == Literal(MAX_INTEGER)
    for digits in (str(MAX_INTEGER + 1), "9" * 30, "9" * 5000):
        assert "larger" in refusal(issuing(f'add(type="a", value={digits})')).failure


def test_a_name_alone_stands_for_the_values() -> None:
    assert parse_policy(issuing('add(type="b", value=c)')) == parse_policy(issuing('add(type="b", value=c.value)'))
    (rule,) = parse_policy(issuing("issue(claim=c)")).issuance
    assert (rule.action.claim, rule.action.type) == ("c", None)
    (rule,) = parse_policy(issuing('add(type=c.type, value=c.issuer, valueType="String")')).issuance
    assert rule.action.value == Reference("c", Property.ISSUER)


def test_one_equals_sign_is_noted() -> None:
    loose = parse_policy(GOOD.replace('type=="a"', 'type="a"'))
    assert loose == parse_policy(GOOD)
    assert [one.loose for one in loose.authorization[0].conditions[0].comparisons] == [True, False]


@pytest.mark.parametrize(
    ("text", "place", "symbol", "failure"),
    [
        ("", (1, 1), "<EOF>", "mismatched input '<EOF>' expecting 'version'"),
        ("Version=1.0;", (1, 1), "Version", "mismatched input 'Version' expecting 'version'"),
        ("version==1.0;", (1, 8), "==", "mismatched input '==' expecting '='"),
        ("version=1.3;", (1, 9), "1.3", "mismatched input '1.3' expecting {'1.0', '1.1', '1.2'}"),
        ("version=1;", (1, 9), "1", "mismatched input '1' expecting {'1.0', '1.1', '1.2'}"),
        ('version="1.0";', (1, 9), '"1.0"', "mismatched input '\"1.0\"' expecting {'1.0', '1.1', '1.2'}"),
        ("version=1.0", (1, 12), "<EOF>", "mismatched input '<EOF>' expecting ';'"),
        ("version=1.0;", (1, 13), "<EOF>", "mismatched input '<EOF>' expecting 'authorizationrules'"),
        ("version=1.0\n[", (2, 1), "[", "mismatched input '[' expecting ';'"),
        ("version=1.0;\n rules{};", (2, 2), "rules",
         "mismatched input 'rules' expecting {'authorizationrules', 'issuancerules'}"),
        ("version=1.1;{", (1, 13), "{",
         "mismatched input '{' expecting {'configurationrules', 'authorizationrules', 'issuancerules'}"),
        ("version=1.0;authorizationrules{}", (1, 33), "<EOF>", "mismatched input '<EOF>' expecting ';'"),
        ("version=1.0;authorizationrules{};};", (1, 34), "}",
         "mismatched input '}' expecting {'authorizationrules', 'issuancerules'}"),
        ("version=1.0;authorizationrules{};authorizationrules{};", (1, 34), "authorizationrules",
         "a second section authorizationrules"),
        ("version=1.0;authorizationrules{", (1, 32), "<EOF>", "mismatched input '<EOF>' expecting '['"),
        ("version=1.0;authorizationrules{=>", (1, 34), "<EOF>",
         "mismatched input '<EOF>' expecting {'permit', 'deny', 'add'}"),
        ("version=1.0;authorizationrules{=>permit;", (1, 40), ";", "mismatched input ';' expecting '('"),
        ("version=1.0;authorizationrules{=>permit(1);", (1, 41), "1", "mismatched input '1' expecting ')'"),
        ('version=1.0;authorizationrules{[type=="a"] permit();', (1, 44), "permit",
         "mismatched input 'permit' expecting {'=>', '&&'}"),
        ("version=1.0;authorizationrules{[]=>permit();", (1, 33), "]",
         "mismatched input ']' expecting {'type', 'value', 'valueType', 'issuer'}"),
        ('version=1.0;authorizationrules{[type:"a"]', (1, 37), ":",
         "mismatched input ':' expecting {'==', '!=', '<', '<=', '>', '>='}"),
        ('version=1.0;authorizationrules{[type=="a";', (1, 42), ";", "mismatched input ';' expecting {']', ','}"),
        ('version=1.0;authorizationrules{[value=="a" value', (1, 44), "value",
         "mismatched input 'value' expecting {']', ','}"),
        ("version=1.0;authorizationrules{[value==]", (1, 40), "]", "mismatched input ']' expecting 'a value'"),
        ("version=1.0;authorizationrules{[value==0x10]", (1, 41), "x10", "mismatched input 'x10' expecting {']', ','}"),
        ('version=1.0;authorizationrules{[value~="a"]', (1, 38), "~", "token recognition error at: '~'"),
        ("version=1.0;authorizationrules{[value==1.5]", (1, 40), "1.5", "mismatched input '1.5' expecting 'a value'"),
        ('version=1.0;authorizationrules{[value<"a"]', (1, 38), "<", "'<' compares integers only"),
        ("version=1.0;authorizationrules{[value>=true]", (1, 38), ">=", "'>=' compares integers only"),
        ("version=1.0;authorizationrules{[type>1]", (1, 37), ">", "'>' compares integers only"),
        ('version=1.0;authorizationrules{c[type=="a"]', (1, 33), "[", "mismatched input '[' expecting ':'"),
        ('version=1.0;authorizationrules{true:[type=="a"]', (1, 32), "true",
         "mismatched input 'true' expecting 'a name'"),
        ('version=1.0;authorizationrules{c:[type=="a"]&&c:[', (1, 47), "c", "the name 'c' is given twice in this rule"),
        ("version=1.0;authorizationrules{c:[value==c.value]", (1, 42), "c",
         "the name 'c' is not bound by a condition before"),
        ("version=1.2;authorizationrules{!c:[value==1]&&[value==c.value]", (1, 55), "c",
         "the name 'c' is not bound by a condition before"),
        ("version=1.1;authorizationrules{![value==1]", (1, 32), "!", "mismatched input '!' expecting '['"),
        ("version=1.2;authorizationrules{!![value==1]", (1, 33), "!", "mismatched input '!' expecting '['"),
        ('version=1.0;authorizationrules{=>add(type="a");', (1, 46), ")", "mismatched input ')' expecting 'value'"),
        ('version=1.0;authorizationrules{=>add(value="a");', (1, 47), ")", "mismatched input ')' expecting 'type'"),
        ("version=1.0;authorizationrules{=>add();", (1, 38), ")", "mismatched input ')' expecting 'type'"),
        ('version=1.0;authorizationrules{=>add(type="a", type="b"', (1, 48), "type", "'type' is given twice"),
        ('version=1.0;authorizationrules{=>add(type=="a"', (1, 42), "==", "mismatched input '==' expecting '='"),
        ('version=1.0;authorizationrules{=>add(name="a"', (1, 38), "name",
         "mismatched input 'name' expecting {'type', 'value', 'valueType', 'issuer', 'claim'}"),
        ('version=1.0;authorizationrules{c:[type=="a"]=>add(claim=d', (1, 57), "d",
         "the name 'd' is not bound by a condition before"),
        ('version=1.0;authorizationrules{c:[type=="a"]=>add(claim=c, value=1)', (1, 67), ")", "claim= stands alone"),
        ('version=1.0;authorizationrules{c:[type=="a"]=>add(type="b", value=c.name)', (1, 69), "name",
         "mismatched input 'name' expecting {'type', 'value', 'valueType', 'issuer'}"),
        ('version=1.0;authorizationrules{=>add(type="a", value=1, issuer="AttestationService")', (1, 64),
         '"AttestationService"', 'the issuer of a new claim is "AttestationPolicy"'),
        ("version=1.1;authorizationrules{[value==NegateBool(true)]", (1, 40), "NegateBool",
         "'NegateBool' needs version 1.2"),
        ("version=1.2;authorizationrules{[value==negateBool(true)]", (1, 40), "negateBool",
         "there is no function 'negateBool'"),
        ("version=1.2;authorizationrules{[value==NegateBool()]", (1, 51), ")", "'NegateBool' takes 1 arguments, not 0"),
        ('version=1.2;authorizationrules{[value==AppendString("a")]', (1, 56), ")",
         "'AppendString' takes 2 arguments, not 1"),
        ("version=1.2;authorizationrules{[value==NegateBool(true]", (1, 55), "]",
         "mismatched input ']' expecting {')', ','}"),
        ('version=1.0; "', (1, 14), '"', "token recognition error at: '\"'"),
    ],
)  # fmt: skip
def test_errors_name_the_place_and_what_was_expected(
    text: str, place: tuple[int, int], symbol: str, failure: str
) -> None:
    refused = refusal(text)
    assert ((refused.place.line, refused.place.column), refused.symbol, refused.failure) == (place, symbol, failure)
    assert refused.text == (
        f"Policy Parser Exception Thrown: Offending symbol: '{symbol}'  Line: '{place[0]}', Column: '{place[1]}'  "
        f"Failure message: '{failure}'"
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("version=1.0;authorizationrules{[type==\u201ca\u201d]=>permit();};", "straight double quotes"),
        ("version=1.0;authorizationrules{[type=='a']=>permit();};", "straight double quotes"),
        ('version=1.0;authorizationrules{[type=="a"]||[type=="b"]=>permit();};', "a rule for each alternative"),
        ('version=1.0;authorizationrules{[value~="a"]=>permit();};', "no regular expressions"),
        ("version=1.0;authorizationrules{[type==$tee]=>permit();};", "stand in quotes"),
        ("\ufeffversion=1.0;", "byte order mark"),
        ("version=1.0;\u00a0", "ordinary space"),
        ("version=1.0;configurationrules{};", "1.1 or later"),
        ("version=1.1;authorizationrules{![type", "need version=1.2"),
        ("version=1.2;authorizationrules{[value==jmespath(", "Functions: JmesPath."),
        ("version=1.2;authorizationrules{[value==exists(", "JsonToClaimValue, IsSubsetOf"),
        ("version=1.2;authorizationrules{a:[value==1]&&b:[value==1]&&[value==d", "before: a, b."),
        ("version=1.0;", "nothing is ever permitted"),
    ],
)  # fmt: skip
def test_common_mistakes_are_explained(text: str, hint: str) -> None:
    assert hint in refusal(text).hint


def test_the_limits() -> None:
    rules = "=>permit();" * MAX_RULES
    assert len(parse_policy(f"version=1.0;authorizationrules{{{rules}}};").authorization) == MAX_RULES
    assert "1000 rules" in refusal(f"version=1.0;authorizationrules{{{rules}=>permit();}};").failure
    assert "1000 rules" in refusal(f"version=1.0;authorizationrules{{{rules}}};issuancerules{{=>x").failure
    full = GOOD + "\n" * (MAX_TEXT - len(GOOD))
    assert parse_policy(full) == parse_policy(GOOD)
    assert "65536 bytes" in refusal(full + "\n").failure
    assert "65536 bytes" in refusal(GOOD + "//" + "\u00fc" * (MAX_TEXT // 2)).failure
    assert "65536 bytes" in refusal(GOOD + "//\ud800").failure


def test_calls_may_stand_sixteen_deep_in_one_another() -> None:
    def nested(depth: int) -> str:
        return issuing('add(type="a", value=' + "NegateBool(" * depth + "true" + ")" * depth + ")")

    assert parse_policy(nested(16))
    assert "more than 16 deep" in refusal(nested(17)).failure
    assert parse_policy(
        nested(16).replace("};issuancerules{", '};issuancerules{=>add(type="a",value=NegateBool(true));')
    )


def test_a_long_word_is_cut_in_messages() -> None:
    refused = refusal("version=1.0;" + "x" * 1000)
    assert refused.symbol == "x" * 64 + "..."
    assert len(str(refused)) < 400
