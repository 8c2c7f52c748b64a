"""Azure Attestation's policies: their text, and what the functions of their language are given; results as EAR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kloister.errors import Denied, Malformed
from kloister.formats.tokens.ear import Ear, EarAppraisal, Profile, TrustVector
from kloister.formats.wire import load_json
from kloister.trust.policy.maa import ATTESTATION_SERVICE, Claim, Policy, default_policy, evaluate, parse_policy
from kloister.trust.policy.maa.printer import print_policy
from tests.fuzz.target import Target

_STEPS = 50_000  # of one evaluation: a twentieth of what a policy may take
_POLICY = """version=1.2;
configurationrules { => issueproperty(type="x-ms-sgx-tcbidentifier", value="11"); };
authorizationrules {
    // a comment
    s:[type=="a", issuer=="AttestationService", value>=1] && ![type=="q"] && [value==s.value] => permit();
    [type=="x-ms-sgx-is-debuggable", value==true] => deny();
};
issuancerules {
    c:[type=="j"] => add(type="x", value=JmesPath(c.value, "Events[?Type == 'A'] | length(@) == `1`"));
    c:[type=="x"] => issue(type="y", value=JsonToClaimValue(AppendString(c.value, "")));
    c:[type=="a"] && d:[type=="b"] => issue(type="z", value=IsSubsetOf(c.value, d.value));
    => issue(type="n", value=NegateBool(ContainsOnlyValue(1, 1)));
};
"""
_APPLY = parse_policy(
    'version=1.2;authorizationrules{=>permit();};issuancerules{c:[type=="d"]&&q:[type=="q"]=>'
    'issue(type="r",value=JsonToClaimValue(JmesPath(c.value,q.value)));};'
)
_CLAIMS = [
    Claim("a", 1, ATTESTATION_SERVICE),
    Claim("b", "x", ATTESTATION_SERVICE),
    Claim("j", '{"Events":[{"Type":"A"}]}', ATTESTATION_SERVICE),
]
_QUERIES = (
    b'[1,[2],{"a":3}]\n[?a].a | [0]',
    b'{"a":"b"}\nkeys(@) | sort(@) | join(\', \', @)',
    b"[0]\n[@,@]|[@,@][][]",
)


def targets() -> Iterator[Target]:
    """Parser, evaluation and queries."""
    texts = [_POLICY.encode(), (default_policy("SgxEnclave") or "").encode()]
    yield Target(
        name="maa-policy",
        read=lambda data: parse_policy(data.decode("utf-8", "replace")),
        seeds=lambda: texts,
        build=lambda policy: print_policy(policy).encode(),
        refusals=(Malformed,),
    )
    yield Target(name="maa-evaluation", read=_evaluated, seeds=lambda: texts, refusals=(Malformed, Denied))
    yield Target(
        name="ear",
        read=lambda data: Ear.parse_claims(_object(data)),
        seeds=lambda: [json.dumps(one.build_claims()).encode() for one in _results()],
        build=lambda ear: json.dumps(ear.build_claims()).encode(),
    )
    yield Target(name="maa-query", read=_queried, seeds=lambda: list(_QUERIES), refusals=(Denied,))


def _object(data: bytes) -> dict[str, Any]:
    value = load_json(data, "ear", 1 << 20)
    return value if isinstance(value, dict) else {}


def _results() -> Iterator[Ear]:
    vector = TrustVector(instance_identity=2, executables=3, hardware=32)
    part = EarAppraisal(vector=vector, status=vector.status, policies=("p",), more={"kloister-simulated": True})
    for profile in Profile:
        yield Ear(profile=profile, issued=1, expires=2, developer="d", build="b", parts={"sgx": part}, nonce="12345678")


def _evaluated(data: bytes) -> Policy:
    policy = parse_policy(data.decode("utf-8", "replace"))
    evaluate(policy, _CLAIMS, trace=bool(data[-1] & 1), steps=_STEPS)
    return policy


def _queried(data: bytes) -> object:
    document, _, query = data.decode("utf-8", "replace").partition("\n")
    claims = [Claim("d", document, ATTESTATION_SERVICE), Claim("q", query, ATTESTATION_SERVICE)]
    return evaluate(_APPLY, claims, steps=_STEPS)
