"""Who asks again gets what a service would say that has never seen him: nobody can tell by the token."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.sgx import Attributes, Flag
from kloister.formats.tokens import Jws
from kloister.formats.tokens.policy import policy_token
from kloister.formats.wire import b64url
from kloister.serve.attestation import AttestationProcess
from kloister.services.attestation import repeats
from kloister.services.attestation.evidence import Judge
from kloister.services.attestation.kinds import Kind
from kloister.services.attestation.tokens import PayloadForm, payload
from kloister.simulator.documents import TcbStage
from kloister.simulator.pki import derive_key
from kloister.trust.policy.maa.known import is_reserved
from tests.support.attestation import (
    PERMIT,
    Answer,
    ask,
    bound,
    client_data,
    open_enclave,
    running,
    settings,
    sgx_quote,
)
from tests.support.evidence import ENCLAVE, NOW, SEED, Forge

FIRST, OTHER = b"first", b'{"b": ["%s", 2.5], "a": "\xc3\xa9"}'
QUICK = {"algorithm": "ES256"}  # to make keys for
NEW_EACH_TIME = {"jti", "exp", "iat", "nbf"}
KSS = {"attributes": Attributes(0x05 | Flag.KSS, 0xE7), "configid": bound(OTHER)}
COMES_AGAIN: list[tuple[str, dict[str, Any]]] = [
    ("SgxEnclave", {"quote": b64url(sgx_quote(OTHER)), "runtimeData": client_data(OTHER)}),
    ("SgxEnclave", {"quote": b64url(sgx_quote(OTHER)), "runtimeData": client_data(OTHER, "JSON"), "nonce": 'a"%d'}),
    ("SgxEnclave", {"quote": b64url(sgx_quote(OTHER))}),
    ("SgxEnclave", {"Quote": b64url(sgx_quote(OTHER)), "EnclaveHeldData": b64url(OTHER)}),
    ("SgxEnclave", {"quote": b64url(sgx_quote(OTHER, **KSS)), "initTimeData": client_data(OTHER, "JSON")}),
    ("OpenEnclave", {"report": b64url(open_enclave(sgx_quote(OTHER))), "runtimeData": client_data(OTHER)}),
]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[AttestationProcess]:
    with running(settings(tmp_path, tokens=QUICK)) as process:
        yield process


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """Which attestations took a full verification."""
    found: list[Kind] = []
    original = Judge.judge

    def counted(self: Judge, kind: Kind, *arguments: Any, **named: Any) -> Any:
        found.append(kind)
        return original(self, kind, *arguments, **named)

    monkeypatch.setattr(Judge, "judge", counted)
    return found


def attest(process: AttestationProcess, members: dict[str, Any], kind: str = "SgxEnclave") -> Answer:
    return ask(process, "POST", f"/attest/{kind}", members, bearer=None)


def first(process: AttestationProcess, members: dict[str, Any], kind: str) -> None:
    """The same enclave, with other report data."""
    others = KSS if "initTimeData" in members else {}
    quote = sgx_quote(FIRST, **others)
    name, data = ("report", open_enclave(quote)) if kind == "OpenEnclave" else ("quote", quote)
    assert attest(process, {name: b64url(data)}, kind).status == 200


def lasting(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.claims.items() if name not in NEW_EACH_TIME}


@pytest.mark.parametrize(("kind", "members"), COMES_AGAIN)
def test_the_same_token_as_at_first(
    process: AttestationProcess, tmp_path: Path, judged: list[Kind], kind: str, members: dict[str, Any]
) -> None:
    (tmp_path / "fresh").mkdir()
    with running(settings(tmp_path / "fresh", tokens=QUICK)) as fresh:
        expected = attest(fresh, members, kind)
    first(process, members, kind)
    assert len(judged) == 2
    for _ in range(2):
        answer = attest(process, members, kind)
        assert lasting(answer) == lasting(expected)
        assert answer.claims.keys() == expected.claims.keys()
        jws = Jws.parse(answer.json["token"])
        assert jws.payload == json.dumps(jws.claims, sort_keys=True, separators=(",", ":")).encode()
        assert (jws.claims["exp"] - jws.claims["iat"], jws.claims["nbf"]) == (28800, jws.claims["iat"])
    assert len(judged) == 2
    assert attest(process, members, kind).claims["jti"] is not answer.claims["jti"]


QUOTE = sgx_quote(OTHER)
FORGED = replace(Forge(enclave=replace(ENCLAVE, report_data=bound(OTHER))), attestation_key=derive_key(SEED, "evil"))
GOOD = {"quote": b64url(QUOTE), "runtimeData": client_data(OTHER)}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"quote": b64url(QUOTE[:440] + b"x" + QUOTE[441:])}, "quote-signature"),
        ({"quote": b64url(QUOTE[:400] + b"x" + QUOTE[401:])}, "quote-signature"),
        ({"quote": b64url(QUOTE[:436] + FORGED.quote()[436:500] + QUOTE[500:])}, "quote-signature"),
        ({"quote": b64url(QUOTE[:-1])}, "quote-truncated"),
        ({"quote": b64url(QUOTE[:432] + b"\0" + QUOTE[433:])}, "quote-authentication-truncated"),
        ({"quote": GOOD["quote"][:500] + "!" + GOOD["quote"][501:]}, "attest-request-field"),  # type: ignore[index]
        ({"quote": GOOD["quote"][:500] + "=" + GOOD["quote"][501:]}, "attest-request-field"),  # type: ignore[index]
        ({"quote": GOOD["quote"][:500] + "\u00e9" + GOOD["quote"][501:]}, "attest-request-field"),  # type: ignore[index]
        ({"quote": 7}, "attest-request-field"),
        ({"runtimeData": client_data(FIRST)}, "client-data-binding"),
        ({"runtimeData": client_data(b"{", "JSON")}, "client-data-binding"),
        ({"initTimeData": client_data(OTHER)}, "client-data-binding"),
        ({"nonce": -1}, "attest-request-field"),
    ],
)
def test_the_same_refusals_as_at_first(
    process: AttestationProcess, tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    (tmp_path / "fresh").mkdir()
    with running(settings(tmp_path / "fresh", tokens=QUICK)) as fresh:
        expected = attest(fresh, {**GOOD, **changed})
    first(process, GOOD, "SgxEnclave")
    answer = attest(process, {**GOOD, **changed})
    assert (answer.status, answer.reason) == (expected.status, reason)
    if reason:
        assert answer.json == expected.json


@pytest.mark.parametrize(
    "written",
    [
        base64.b64encode(QUOTE).decode(),
        base64.urlsafe_b64encode(QUOTE).decode(),
        base64.encodebytes(QUOTE).decode(),
        b64url(QUOTE)[:100] + "=" + b64url(QUOTE)[100:],
    ],
)
def test_other_ways_to_write_the_same_bytes(process: AttestationProcess, written: str) -> None:
    for _ in range(2):
        first(process, GOOD, "SgxEnclave")
        assert lasting(attest(process, {**GOOD, "quote": written})) == lasting(attest(process, GOOD))


def test_a_nonce_of_the_service_counts_each_time(process: AttestationProcess) -> None:
    def asked(nonce: str) -> Answer:
        data = json.dumps({"kloister-nonce": nonce}).encode()
        return attest(process, {"quote": b64url(sgx_quote(data)), "runtimeData": client_data(data, "JSON")})

    first(process, GOOD, "SgxEnclave")
    nonce = ask(process, "POST", "/v1/nonce", bearer=None).json["nonce"]
    assert asked(nonce).claims["kloister-nonce"] == nonce
    assert asked("A" * len(nonce)).reason == "attestation-nonce"


def test_another_policy_is_in_force_at_once(process: AttestationProcess, judged: list[Kind]) -> None:
    first(process, GOOD, "SgxEnclave")
    assert "x-ms-policy" in attest(process, GOOD).claims
    ask(process, "PUT", "/policies/SgxEnclave", policy_token(PERMIT))
    assert "x-ms-policy" not in attest(process, GOOD).claims
    deny = "version=1.0; authorizationrules{ => deny();}; issuancerules{};"
    ask(process, "PUT", "/policies/SgxEnclave", policy_token(deny))
    assert attest(process, GOOD).reason == "maa-denied"
    assert len(judged) == 3


@pytest.mark.parametrize(
    "condition", [f'[type=="x-ms-sgx-report-data", value=="{bound(OTHER).hex()}"]', f'[value=="{b64url(OTHER)}"]']
)
def test_a_policy_that_asks_for_what_varies_is_asked_each_time(
    process: AttestationProcess, judged: list[Kind], condition: str
) -> None:
    text = f"version=1.0; authorizationrules{{{condition} => permit();}}; issuancerules{{}};"
    ask(process, "PUT", "/policies/SgxEnclave", policy_token(text))
    other = {"quote": b64url(sgx_quote(FIRST)), "runtimeData": client_data(FIRST)}
    for _ in range(2):
        assert attest(process, GOOD).status == 200
        assert attest(process, other).reason == "maa-not-permitted"
    assert len(judged) == 4


def test_new_collateral_judges_at_once(process: AttestationProcess, tmp_path: Path) -> None:
    first(process, GOOD, "SgxEnclave")
    before = attest(process, GOOD).claims
    documents = Forge().documents(TcbStage(evaluation_number=before["kloister-tcb-evaluation-number"] + 1))
    (tmp_path / "bundles" / "sgx.json").write_text(json.dumps(documents))
    process._look()
    after = attest(process, GOOD).claims
    assert after["kloister-tcb-evaluation-number"] == before["kloister-tcb-evaluation-number"] + 1
    assert after["x-ms-sgx-collateral"] != before["x-ms-sgx-collateral"]


def test_it_holds_as_long_as_every_date_does(process: AttestationProcess) -> None:
    first(process, GOOD, "SgxEnclave")
    again = process.service.snapshot(process._settings.instances[0]).repeats.find(Kind.SGX_ENCLAVE, b64url(QUOTE))
    assert again is not None
    precedent = again.repeat.precedent
    judge, quote, second = process.service._parts.judge, precedent.quote, timedelta(seconds=1)
    times = (quote.start - second, quote.start, NOW, quote.end, quote.end + second)
    found = [replace(judge, at=None).holds(precedent, at) for at in times]
    assert found == [False, True, True, True, False]


def test_it_is_audited(tmp_path: Path) -> None:
    with running(settings(tmp_path, tokens=QUICK, audit={"attestations": True})) as process:
        jtis = [attest(process, GOOD).claims["jti"] for _ in range(3)]
        entries = [json.loads(each["body"]) for each in ask(process, "GET", "/v1/audit").json["entries"]]
    attested = [each for each in entries if each["event"] == "attested"]
    assert [each["jti"] for each in attested] == jtis
    assert len({each["policy"] for each in attested}) == 1


def test_the_oldest_makes_room(process: AttestationProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_MAX_REPEATS", 2)
    evidence = [sgx_quote(isvsvn=number) for number in range(3)]
    for each in evidence:
        assert attest(process, {"quote": b64url(each)}).status == 200
    some = process.service.snapshot(process._settings.instances[0]).repeats
    assert [some.find(Kind.SGX_ENCLAVE, b64url(each)) is not None for each in evidence] == [False, True, True]
    assert some.find(Kind.OPEN_ENCLAVE, b64url(evidence[2])) is None
    assert some.find(Kind.TDX_VM, b64url(evidence[2])) is None


@pytest.mark.parametrize("padded", [b64url(QUOTE + bytes(100_000)), b64url(QUOTE) + "=" * 100_000])
def test_padding_fills_no_memory(process: AttestationProcess, padded: str) -> None:
    """One genuine quote can be padded in as many ways as one likes: such a request is answered, and not remembered."""
    assert attest(process, {**GOOD, "quote": padded}).status == 200
    some = process.service.snapshot(process._settings.instances[0]).repeats
    assert some.find(Kind.SGX_ENCLAVE, padded) is None
    assert attest(process, GOOD).status == 200
    assert some.find(Kind.SGX_ENCLAVE, b64url(QUOTE)) is not None


def test_no_policy_issues_what_varies_at_top_level() -> None:
    assert all(is_reserved(name) for name in repeats.VARYING)


def test_a_form_is_the_payload_with_places() -> None:
    claims = {"b": {"x": ["100%", '"%s"']}, "%d": "\u00e9", "z%": True}
    form = PayloadForm.of(claims, ["a%", "c"])
    assert form.filled({"c": "[1]", "a%": '"%"'}) == payload({**claims, "c": [1], "a%": "%"})
