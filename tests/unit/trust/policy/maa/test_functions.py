from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Misconfigured
from kloister.trust.policy.maa import Claim, MaaPolicyError
from kloister.trust.policy.maa.claims import Values
from kloister.trust.policy.maa.functions import MAX_STRING, call
from kloister.trust.policy.maa.meter import Meter
from kloister.trust.policy.maa.words import Function, Value
from tests.unit.trust.policy.maa.test_evaluator import issue

F = Function


def apply(function: Function, *arguments: Value | tuple[Value, ...], steps: int = 10_000_000) -> tuple[Value, ...]:
    values = [Values(one if isinstance(one, tuple) else (one,)) for one in arguments]
    return call(function, values, Meter(steps)).items


def refusal(function: Function, *arguments: Any, steps: int = 10_000_000) -> MaaPolicyError:
    with pytest.raises(MaaPolicyError) as refused:
        apply(function, *arguments, steps=steps)
    return refused.value


@pytest.mark.parametrize(
    ("document", "query", "found"),
    [
        ('{"foo": "bar"}', "foo", '"bar"'),
        ('{"values":[0,1,2,3,4]}', "values[2]", "2"),
        ('{"values":[0,1]}', "values", "[0,1]"),
        ("{}", "foo", "null"),
        ('{"a":{"b":1.5,"c":true}}', "a", '{"b":1.5,"c":true}'),
        ('{"a":"\u00fc\\n"}', "a", '"\u00fc\\n"'),
        ('["a","B"]', "[?equals_ignore_case(@, 'b')]", '["B"]'),
        ('[{"n":"X"},{}]', "[?equals_ignore_case(n, 'x')]", '[{"n":"X"}]'),
        ("[]", "equals_ignore_case(@[0], @[1])", "false"),
        ('["a"]', "[0] == `a`", "true"),
        ("[1,2,3]", "length(@) == `3` && @[0] == `1`", "true"),
        ('["STRASSE"]', "equals_ignore_case([0], 'stra\u00dfe')", "true"),
    ],
)
def test_jmespath_yields_json_text(document: str, query: str, found: str) -> None:
    assert apply(F.JMES_PATH, document, query) == (found,)


@pytest.mark.parametrize(
    ("document", "query", "reason"),
    [
        ("", "a", "empty text"),
        ("{", "a", "not well-formed"),
        ('{"a":1,"a":2}', "a", "unique keys"),
        ("[NaN]", "a", "not well-formed"),
        (f"[{'9' * 5000}]", "a", "not well-formed"),
        ("[" * 100_000, "a", "not well-formed"),
        ("[1e999]", "[0]", "what JSON cannot hold"),
        ('["\\ud800"]', "[0]", "surrogate"),
        ("{}", "", "1 to 4096 characters, not 0"),
        ("{}", "a" * 4097, "1 to 4096 characters, not 4097"),
        ("{}", "a[", "Invalid jmespath expression"),
        ("{}", "~", "Bad jmespath expression"),
        ("{}", "nothing(@)", "Unknown function: nothing()"),
        ("{}", "length(`1`)", "length() was given a number"),
        ("{}", "equals_ignore_case(`1`, 'a')", "equals_ignore_case() was given a number"),
        ("{}", "length(@, @)", "Expected 1 argument"),
        ("[1]", "[::0]", "cannot be evaluated"),
        (1, "a", "JmesPath takes text, not integers"),
        ("{}", True, "JmesPath takes text, not booleans"),
    ],
)
def test_jmespath_refuses(document: Value, query: Value, reason: str) -> None:
    refused = refusal(F.JMES_PATH, document, query)
    assert refused.code == "maa-evaluation"
    assert reason in refused.text
    assert len(refused.text) < 400


@pytest.mark.parametrize(
    "query",
    [
        "[@,@]" + "|[@,@]" * 600,
        "{a:@,b:@}" + "|{a:@,b:@}" * 300,
        "[@,@]" + "|[@,@][]" * 500,
        "to_string(@)" + "|[@,@]" * 300 + "|to_string(@)",
        "['0123456789abcdef']" + "|[join('',[@[0],@[0]])]" * 100,
        "[@,@]" + "|[@,@]" * 20 + "|@==@",
        "map(&[@,@,@,@], @)" + "|map(&[@,@,@,@], @)" * 200,
        "[@,@]" + "|[@,@]" * 14 + "|[][][][][][][][][][][][][][][]|[@,@]|@[].sort([[@][0], [@][0]][])",
    ],
)
def test_queries_that_double_their_result_are_stopped(query: str) -> None:
    refused = refusal(F.JMES_PATH, "[0,1,2,3]", query, steps=200_000)
    assert refused.code in ("maa-limit", "maa-evaluation")


def test_deep_queries_are_stopped() -> None:
    assert refusal(F.JMES_PATH, "{}", "(" * 4000).code == "maa-limit"
    assert refusal(F.JMES_PATH, "{}", "!" * 4000 + "a").code == "maa-limit"


def test_jmespath_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kloister.trust.policy.maa.query", "jmespath"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Misconfigured) as refused:
        apply(F.JMES_PATH, "{}", "a")
    assert refused.value.code == "maa-jmespath-missing"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1", (1,)),
        ("-9223372036854775808", (-(2**63),)),
        ("9223372036854775807", (2**63 - 1,)),
        ("true", (True,)),
        (" false\n", (False,)),
        ('"bar"', ("bar",)),
        ("bar", ("bar",)),
        ("'a b'", ("'a b'",)),
        ("trueish", ("trueish",)),
        ('""', ("",)),
        ("null", ()),
        ("[]", ()),
        ('[1,"a",true,null,1]', (1, "a", True, 1)),
        ("[null]", ()),
    ],
)
def test_json_to_claim_values(text: str, values: tuple[Value, ...]) -> None:
    found = apply(F.JSON_TO_CLAIM_VALUE, text)
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


@pytest.mark.parametrize(
    "text",
    ["1.5", "1.0", "1e3", "{}", '{"a":1}', "[[1]]", "[{}]", "[1.5]", "", "  ", "[1", '"a', "01", "-",
     "9223372036854775808", "-9223372036854775809", '"\\ud800"', "9" * 5000],
)  # fmt: skip
def test_json_that_is_no_claim_value(text: str) -> None:
    assert refusal(F.JSON_TO_CLAIM_VALUE, text).code == "maa-evaluation"


def test_functions_refuse_other_types() -> None:
    for function, arguments in (
        (F.JSON_TO_CLAIM_VALUE, (1,)),
        (F.APPEND_STRING, ("a", 1)),
        (F.APPEND_STRING, (True, "a")),
        (F.NEGATE_BOOL, (1,)),
        (F.NEGATE_BOOL, ("true",)),
        (F.CONTAINS_ONLY_VALUE, (1, (1, 1))),
        (F.CONTAINS_ONLY_VALUE, (1, ())),
    ):
        assert refusal(function, *arguments).code == "maa-evaluation"


def test_scalar_functions_are_applied_to_every_combination() -> None:
    assert apply(F.APPEND_STRING, ("a", "b"), ("x", "y")) == ("ax", "ay", "bx", "by")
    assert apply(F.NEGATE_BOOL, (True, False)) == (False, True)
    assert apply(F.APPEND_STRING, (), "x") == ()
    assert refusal(F.APPEND_STRING, ("a",) * 100, ("b",) * 100, steps=9_999).code == "maa-limit"


VALUES = st.lists(st.integers(0, 2) | st.booleans() | st.sampled_from(["a", "b"]), max_size=5).map(tuple)


def keys(values: tuple[Value, ...]) -> set[tuple[type, Value]]:
    return {(type(one), one) for one in values}


@given(VALUES, VALUES)
def test_subsets_are_those_of_mathematics(part: tuple[Value, ...], whole: tuple[Value, ...]) -> None:
    assert apply(F.IS_SUBSET_OF, part, whole) == (keys(part) <= keys(whole),)


@given(VALUES, st.sampled_from([0, 1, True, False, "a"]))
def test_only_one_value(values: tuple[Value, ...], value: Value) -> None:
    assert apply(F.CONTAINS_ONLY_VALUE, values, value) == (keys(values) == keys((value,)),)


def test_read_only_is_handed_on_but_by_questions_about_sets() -> None:
    secret, plain = Values(("[true]",), read_only=True), Values(("a",))
    for function, arguments, expected in (
        (F.JMES_PATH, [secret, Values(("[0]",))], True),
        (F.JMES_PATH, [Values(("[0]",)), Values(("[0]",), read_only=True)], True),
        (F.JSON_TO_CLAIM_VALUE, [secret], True),
        (F.APPEND_STRING, [plain, secret], True),
        (F.APPEND_STRING, [plain, plain], False),
        (F.NEGATE_BOOL, [Values((True,), read_only=True)], True),
        (F.IS_SUBSET_OF, [secret, secret], False),
        (F.CONTAINS_ONLY_VALUE, [secret, secret], False),
    ):
        assert call(function, arguments, Meter()).read_only is expected


def test_texts_are_bounded() -> None:
    half = "a" * (MAX_STRING // 2)
    assert apply(F.APPEND_STRING, half, half) == (half + half,)
    assert refusal(F.APPEND_STRING, half + "a", half).code == "maa-evaluation"
    assert refusal(F.JSON_TO_CLAIM_VALUE, "a" * (MAX_STRING + 1)).code == "maa-evaluation"
    assert refusal(F.APPEND_STRING, half, half, steps=1000).code == "maa-limit"


def test_appending_to_oneself_again_and_again_ends() -> None:
    double = 'c:[type=="a"]=>add(type="a",value=AppendString(c.value,c.value));'
    with pytest.raises(MaaPolicyError) as refused:
        issue(double * 900, Claim("a", "x"))
    assert refused.value.code in ("maa-limit", "maa-evaluation")


def test_calls_are_evaluated_inside_out() -> None:
    assert issue('=>issue(type="r",value=AppendString(AppendString("a","b"),"c"));').token_claims == {"r": "abc"}
