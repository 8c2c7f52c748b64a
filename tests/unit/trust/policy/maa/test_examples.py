"""The worked examples of the reference (section 3.7), by their numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from kloister.trust.policy.maa import (
    ATTESTATION_SERVICE,
    CUSTOM_CLAIM,
    Claim,
    MaaPolicyError,
    MaaSyntaxError,
    evaluate,
    parse_policy,
)

AS = ATTESTATION_SERVICE
SGX = {
    "x-ms-attestation-type": "sgx",
    "x-ms-sgx-is-debuggable": False,
    "x-ms-sgx-product-id": 1,
    "x-ms-sgx-svn": 1,
    "x-ms-sgx-mrsigner": "AA",
    "x-ms-sgx-mrenclave": "BB",
}


def claims(*pairs: tuple[str, Any], issuer: str = AS) -> list[Claim]:
    return [Claim(name, value, issuer) for name, value in pairs]


S = claims(*SGX.items())


def w(rules: str = "", version: str = "1.0") -> str:
    return f"version={version};authorizationrules{{=>permit();}};issuancerules{{{rules}}};"


def a(rules: str, issuance: str = "") -> str:
    return f"version=1.0;authorizationrules{{{rules}}};issuancerules{{{issuance}}};"


def w2(rules: str) -> str:
    return w(rules, "1.2")


EVENTS = {
    "Events": [
        {
            "EventTypeString": "EV_EFI_VARIABLE_DRIVER_CONFIG",
            "ProcessedData": {"UnicodeName": "SecureBoot", "VariableData": "AQ", "VariableGuid": "8BE4DF61"},
        },
        {"EventTypeString": "EV_SEPARATOR", "ProcessedData": {"UnicodeName": "x"}},
    ]
}
FIVE = (
    '[type=="x-ms-sgx-is-debuggable",value==false]&&[type=="x-ms-sgx-product-id",value==1]&&'
    '[type=="x-ms-sgx-svn",value>=0]&&[type=="x-ms-sgx-mrsigner",value=="AA"]=>permit();'
)
SECURE_BOOT = w2(
    'c:[type=="events"] => add(type="efi", value=JmesPath(c.value, "Events[?EventTypeString == '
    "'EV_EFI_VARIABLE_DRIVER_CONFIG' && ProcessedData.VariableGuid == '8BE4DF61']\"));"
    'c:[type=="efi"] => issue(type="secureBootEnabled", value=JsonToClaimValue(JmesPath(c.value, '
    "\"[?ProcessedData.UnicodeName == 'SecureBoot'] | length(@) == `1` && @[0].ProcessedData.VariableData == 'AQ'\")));"
    '![type=="secureBootEnabled",issuer=="AttestationPolicy"]=>issue(type="secureBootEnabled",value=false);'
)
RE_ISSUE = 'c:[type=="D"]=>issue(type="R",value=JsonToClaimValue(c.value));'
MISSING = 'c:[type=="Claim3"]=>issue(claim=c);'
SETS = 'c1:[type=="Sub"]&&c2:[type=="Sup"]=>issue(type="R",value=IsSubsetOf(c1.value,c2.value));'
ONLY = 'c:[type=="Set"]=>issue(type="R",value=ContainsOnlyValue(c.value,100));'


@dataclass(frozen=True)
class Example:
    number: str
    policy: str
    incoming: list[Claim]
    outcome: Any  # the token's claims, or the code of a refusal


DENIED, NOT_PERMITTED, EVALUATION, PARSING = "maa-denied", "maa-not-permitted", "maa-evaluation", "maa-parsing"
EXAMPLES = [
    Example("1", w(), S, {}),
    Example("2", a("=>deny();"), S, DENIED),
    Example("3", a(""), S, NOT_PERMITTED),
    Example("4", "version= 1.0;authorizationrules{=> permit();};", S, {}),
    Example("5", a(FIVE, 'c:[type=="x-ms-sgx-mrsigner"]=>issue(type="custom",value=c.value);'), S, {"custom": "AA"}),
    Example("5, another signer", a(FIVE.replace('"AA"', '"AB"')), S, NOT_PERMITTED),
    Example(
        "6",
        a('[type=="x-ms-sgx-mrsigner",value=="XX"]=>permit();[type=="x-ms-sgx-mrsigner",value=="AA"]=>permit();'),
        S,
        {},
    ),
    Example("7", a('[type=="x-ms-sgx-is-debuggable",value==true]=>deny(); =>permit();'), S, {}),
    Example(
        "7, debuggable",
        a('[type=="x-ms-sgx-is-debuggable",value==true]=>deny(); =>permit();'),
        claims(*(SGX | {"x-ms-sgx-is-debuggable": True}).items()),
        DENIED,
    ),
    Example("8", a("=>permit(); =>deny();"), S, DENIED),
    Example("9", w('=>issue(type="SecurityLevelValue",value=100);'), S, {"SecurityLevelValue": 100}),
    Example(
        "10",
        w('=>add(type="x",value=1); [type=="x",issuer=="AttestationPolicy"]=>issue(type="y",value=true);'),
        S,
        {"y": True},
    ),
    Example(
        "11",
        w(
            'F1:[type=="OSName",issuer=="CustomClaim"]&&C2:[type=="OSName",issuer=="AttestationService",value==F1.value]'
            "=>issue(claim=C2);"
        ),
        [Claim("OSName", "w", CUSTOM_CLAIM), Claim("OSName", "w", AS), Claim("OSName", "l", AS)],
        {"OSName": "w"},
    ),
    Example("12", w('![type=="q"]=>issue(type="a",value=1);'), S, PARSING),
    Example(
        "13",
        w2(f'![type=="Claim3"]=>add(type="Claim3",value=300); {MISSING}'),
        claims(("Claim1", 100), ("Claim2", 200)),
        {"Claim3": 300},
    ),
    Example("13, it is there", w2(f'![type=="Claim3"]=>add(type="Claim3",value=300); {MISSING}'),
            claims(("Claim3", 5)), {"Claim3": 5}),
    Example(
        "14",
        w2(
            '=>add(type="J",value=JmesPath("{\\"foo\\": \\"bar\\"}","foo"));'
            'J:[type=="J"]=>issue(type="val",value=JsonToClaimValue(J));'
        ),
        [],
        {"val": "bar"},
    ),
    Example(
        "15",
        w2('c1:[type=="JsonData"]&&c2:[type=="Q"]=>issue(type="R",value=JmesPath(c1.value,c2.value));'),
        claims(("JsonData", '{"values":[0,1,2,3,4]}'), ("Q", "values[2]")),
        {"R": "2"},
    ),
    Example("16", w2(RE_ISSUE), claims(("D", '[0, "abc", true]')), {"R": [0, "abc", True]}),
    Example("17", w2(RE_ISSUE), claims(("D", "null")), {}),
    Example("18", w2(RE_ISSUE), claims(("D", "1.5")), EVALUATION),
    Example(
        "19",
        w2(SETS),
        claims(("Sub", "abc"), ("Sub", 100), ("Sup", True), ("Sup", "abc"), ("Sup", 100)),
        {"R": True},
    ),
    Example("20", w2('=>issue(type="R",value=AppendString("abc","xyz"));'), [], {"R": "abcxyz"}),
    Example("21", w2('=>issue(type="R",value=NegateBool(true));'), [], {"R": False}),
    Example("22", w2(ONLY), claims(("Set", 100), ("Set", 101)), {"R": False}),
    Example(
        "22, empty", w2('=>issue(type="R",value=ContainsOnlyValue(JsonToClaimValue("null"),100));'), [], {"R": False}
    ),
    Example("22, one", w2(ONLY), claims(("Set", 100)), {"R": True}),
    Example("23", 'version=1.2;authorizationrules{[type=="pcr",value==true]=>permit()};', S, PARSING),
    Example("24", "version=1.0\nauthorizationrules{};", S, PARSING),
    Example("25", SECURE_BOOT, claims(("events", json.dumps(EVENTS))), {"secureBootEnabled": True}),
    Example("26", SECURE_BOOT, S, {"secureBootEnabled": False}),
    Example(
        "27",
        'version=1.1;configurationrules{=>issueproperty(type="x-ms-sgx-tcbidentifier",value="11");};'
        "authorizationrules{=>permit();};",
        S,
        {},
    ),
    Example(
        "28, configuration in 1.0",
        'version=1.0;configurationrules{=>issueproperty(type="x",value="11");};authorizationrules{=>permit();};',
        S,
        PARSING,
    ),
    Example("28, issue to authorize", a('=>issue(type="x",value=1);'), S, PARSING),
    Example("28, permit to issue", w("=>permit();"), S, PARSING),
]  # fmt: skip


def outcome(policy: str, incoming: list[Claim]) -> Any:
    try:
        result = evaluate(parse_policy(policy), incoming)
        result.check()
    except (MaaSyntaxError, MaaPolicyError) as refusal:
        return refusal.code
    return result.token_claims


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.number)
def test_the_worked_examples(example: Example) -> None:
    found = outcome(example.policy, example.incoming)
    assert found == example.outcome
    assert json.dumps(found) == json.dumps(example.outcome)  # true is not 1


def test_what_a_rule_makes_is_of_the_policy() -> None:
    (claim,) = evaluate(parse_policy(w('=>issue(type="SecurityLevelValue",value=100);')), S).issued
    assert (claim.issuer, claim.value_type) == ("AttestationPolicy", "Integer")


def test_properties_stand_apart_from_the_token() -> None:
    example = next(one for one in EXAMPLES if one.number == "27")
    result = evaluate(parse_policy(example.policy), S)
    assert result.property_values == {"x-ms-sgx-tcbidentifier": "11"}
    assert result.issued == ()


def test_the_places_of_errors() -> None:
    by_number = {one.number: one.policy for one in EXAMPLES}
    with pytest.raises(MaaSyntaxError) as refused:
        parse_policy(by_number["24"])
    assert (refused.value.place.line, refused.value.place.column) == (2, 1)
    with pytest.raises(MaaSyntaxError) as refused:
        parse_policy(by_number["23"])
    assert refused.value.symbol == "}"
    assert refused.value.failure == "mismatched input '}' expecting ';'"
