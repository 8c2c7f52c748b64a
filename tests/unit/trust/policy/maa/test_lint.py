from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from kloister.formats.sgx import Attributes, Flag
from kloister.formats.snp import Product
from kloister.formats.tokens import maa
from kloister.trust.policy.maa import Kind, Policy, default_policy, lint, parse_policy
from kloister.trust.policy.maa.comparing import value_type
from kloister.trust.policy.maa.known import INCOMING
from tests.support.evidence import ENCLAVE
from tests.support.snp import report
from tests.support.trust_domains import TDX10
from tests.unit.trust.policy.maa.test_examples import EXAMPLES
from tests.unit.trust.policy.maa.trees import policies

PERMIT = "=>permit();"


def policy(authorization: str = PERMIT, issuance: str = "", configuration: str = "") -> str:
    return (
        f"version=1.2;configurationrules{{{configuration}}};\nauthorizationrules{{{authorization}}};\n"
        f"issuancerules{{{issuance}}};"
    )


def findings(text: str) -> list[str]:
    return [one.text for one in lint(parse_policy(text))]


def test_default_policies_are_beyond_doubt() -> None:
    for kind in Kind:
        text = default_policy(kind)
        assert text is None or findings(text) == []


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (policy(""), "No rule permits: nothing is ever attested. Add => permit();"),
        (policy("=>deny();=>permit();"), "This rule denies everything, whatever the others permit."),
        (
            policy('=>permit(); [type=="x-ms-sgx-is-debuggable",value==true]=>deny();'),
            "A deny rule wins over every permit rule, also over those that stand before it.",
        ),
        (
            policy('=>permit(); [type=="x-ms-sgx-svn",value>=1]=>permit();'),
            "This rule decides nothing: line 2 permits everything.",
        ),
        (policy('[type=="x-ms-sgx-mrsinger"]=>permit();'),
         'Neither evidence nor a rule makes a claim "x-ms-sgx-mrsinger"; is x-ms-sgx-mrsigner meant?'),
        (policy('[type=="zzz"]=>permit();'), 'Neither evidence nor a rule makes a claim "zzz".'),
        (policy('[type=="a"]=>permit(); =>add(type="a",value=1);'),
         'The claim "a" is made by a later rule only; rules apply in order.'),
        (policy('[type="x-ms-ver"]=>permit();'), "= is read as ==; write == to compare."),
        (policy('[type=="x-ms-ver",value=="\u201c1.0\u201d"]=>permit();'),
         "There are typographic quotes in this string; were straight ones meant?"),
        (policy('[type=="x-ms-sgx-svn",value=="1"]=>permit();'),
         'value=="1" never holds: x-ms-sgx-svn is an Integer, and this a String.'),
        (policy('[type=="x-ms-sgx-is-debuggable",value!=0]=>permit();'),
         "value!=0 always holds: x-ms-sgx-is-debuggable is a Boolean, and this an Integer."),
        (policy('[value==true,type=="$svn"]=>permit();'),
         "value==true never holds: x-ms-sgx-svn is an Integer, and this a Boolean."),
        (policy('[type=="x-ms-ver",issuer=="AttestationServices"]=>permit();'),
         'No claim has issuer=="AttestationServices"; there are AttestationService, AttestationPolicy, CustomClaim.'),
        (policy('[type=="x-ms-ver",valueType=="string"]=>permit();'),
         'No claim has valueType=="string"; there are String, Integer, Boolean.'),
        (policy("[type==1]=>permit();"), "type==1 never holds: types are text."),
        (policy('[type=="x-ms-ver",value=="1.0",value=="1.1"]=>permit();'),
         "No claim meets this: its value cannot be two things at once."),
        (policy('[type=="x-ms-ver"]=>permit();[type=="x-ms-ver"]=>permit();'), "The same rule stands in line 2."),
        (policy(issuance='=>issue(type="iss",value="me");'),
         'A token has "iss" of its own: this claim will be seen in x-ms-policy only.'),
        (policy(issuance='=>issue(type="x-ms-sgx-svn",value=1);'),
         'A token has "x-ms-sgx-svn" of its own: this claim will be seen in x-ms-policy only.'),
        (policy(configuration='=>issueproperty(type="omit_x5",value=true);'),
         'The service knows no property "omit_x5"; is omit_x5c meant?'),
        (policy(configuration='=>issueproperty(type="omit_x5c",value="true");'),
         "The property omit_x5c is a Boolean, not a String."),
    ],
)  # fmt: skip
def test_what_is_doubtful(text: str, finding: str) -> None:
    assert findings(text) == [finding]


@pytest.mark.parametrize(
    "text",
    [
        policy('[type=="mine",issuer=="CustomClaim"]=>permit();'),
        policy('=>add(type="a",value=1); [type=="a"]=>permit();'),
        policy(issuance='c:[type=="x-ms-ver"]=>add(type=c.value,value=1); [type=="1.0"]=>issue(type="a",value=1);'),
        policy('[type=="x-ms-ver",value!="1.0",value!="1.1"]=>permit();'),
        policy('[type=="x-ms-sgx-svn",value>1,value<4]=>permit();'),
        policy('[type=="x-ms-sgx-is-debuggable",value==true]=>deny(); =>permit();'),
        policy(configuration='=>issueproperty(type="x-ms-sgx-tcbidentifier",value="11");'),
        policy(issuance='c:[type=="x-ms-ver"]=>issue(claim=c);'),
    ],
)
def test_what_is_not(text: str) -> None:
    assert findings(text) == []


def test_findings_stand_in_the_order_of_the_text() -> None:
    found = lint(
        parse_policy('version=1.2;authorizationrules{\n [type=="q"]=>deny();\n [type="x-ms-ver"]=>deny();\n};')
    )
    assert [(one.place.line, one.place.column) for one in found] == [(2, 2), (2, 2), (3, 3)]
    assert found[2].as_json() == {"line": 3, "column": 3, "text": "= is read as ==; write == to compare."}


@settings(max_examples=30)
@given(policies())
def test_every_policy_can_be_looked_at(any_policy: Policy) -> None:
    for finding in lint(any_policy):
        assert finding.text


def test_the_worked_examples_use_known_claims() -> None:
    for example in EXAMPLES:
        if example.number in ("1", "4", "5", "6", "7", "9", "10", "27"):
            assert findings(example.policy) == [], example.number


def test_the_known_claims_are_those_of_tokens() -> None:
    enclave = replace(ENCLAVE, attributes=Attributes(ENCLAVE.attributes.flags | Flag.KSS, 3))
    claims = [maa.sgx_claims(ENCLAVE), maa.sgx_claims(enclave)]
    claims += [maa.snp_claims(report(product), product) for product in (Product.MILAN, Product.TURIN)]
    claims += [maa.tdx_claims(TDX10, "UpToDate"), maa.held_data(b"data")]
    for name, value in (pair for one in claims for pair in one.items()):
        assert INCOMING[name] == value_type(value), name
