from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.dcap import TcbStatus
from kloister.formats.sgx import Attributes, Flag
from kloister.formats.tokens import Jws
from kloister.formats.wire import b64url
from kloister.serve.attestation import AttestationProcess
from kloister.services.attestation import service
from kloister.simulator.documents import TcbStage
from tests.support.attestation import (
    AAD,
    PERMIT,
    SHARED,
    STRICT,
    Answer,
    ask,
    bound,
    client_data,
    open_enclave,
    running,
    settings,
    sgx_quote,
    tdx_quote,
)
from tests.support.evidence import ENCLAVE, Forge

DATA = b'{"a": [1, 2.5, "b"]}'


def attest(process: AttestationProcess, quote: bytes, base: str = AAD, **members: Any) -> Answer:
    return ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(quote), **members}, base=base, bearer=None)


def test_the_claims_of_an_enclave(process: AttestationProcess) -> None:
    quote = sgx_quote(DATA)
    claims = attest(process, quote, runtimeData=client_data(DATA)).claims
    assert claims["x-ms-sgx-mrenclave"] == claims["sgx-mrenclave"] == ENCLAVE.mrenclave.hex()
    assert claims["x-ms-sgx-mrsigner"] == ENCLAVE.mrsigner.hex()
    assert (claims["x-ms-sgx-product-id"], claims["x-ms-sgx-svn"]) == (7, 3)
    assert claims["x-ms-sgx-is-debuggable"] is claims["is-debuggable"] is False
    assert claims["x-ms-sgx-report-data"] == bound(DATA).hex()
    assert claims["x-ms-sgx-ehd"] == claims["maa-ehd"] == claims["aas-ehd"] == b64url(DATA)
    assert "x-ms-runtime" not in claims
    assert (claims["x-ms-ver"], claims["x-ms-attestation-type"], claims["tee"]) == ("1.0", "sgx", "sgx")
    assert claims["x-ms-sgx-collateral"]["quotehash"] == hashlib.sha256(quote).hexdigest()
    assert claims["maa-attestationcollateral"] == claims["x-ms-sgx-collateral"]
    assert set(claims["x-ms-sgx-collateral"]) == {
        "qeidcertshash", "qeidcrlhash", "qeidhash", "quotehash", "tcbinfocertshash", "tcbinfocrlhash", "tcbinfohash",
    }  # fmt: skip
    assert claims["x-ms-policy-hash"] == "bROrN897ZfWmWY2V0FLUlu3uwk5xatGnKYHn3zBbSlw"
    assert set(claims["x-ms-policy"]) == {"is-debuggable", "product-id", "sgx-mrenclave", "sgx-mrsigner", "svn", "tee"}
    assert claims["exp"] - claims["iat"] == 28800
    assert claims["nbf"] == claims["iat"]
    assert (claims["iss"], len(bytes.fromhex(claims["jti"]))) == (AAD, 32)
    assert claims["kloister-tcb-status"] == "UpToDate"
    assert claims["kloister-simulated"] is True
    assert claims["kloister-dangerous-judged-at"] == "2026-06-15T12:00:00Z"
    assert not {"x-ms-compliance-status", "x-ms-policy-signer", "aud", "nonce", "x-ms-sgx-config-id"} & set(claims)


def test_the_header_and_the_order_of_claims(process: AttestationProcess) -> None:
    token = attest(process, sgx_quote()).json["token"]
    jws = Jws.parse(token)
    keys = ask(process, "GET", "/certs", bearer=None).json["keys"]
    assert dict(jws.header) == {"alg": "RS256", "jku": f"{AAD}/certs", "kid": keys[0]["kid"], "typ": "JWT"}
    assert jws.payload == json.dumps(jws.claims, sort_keys=True, separators=(",", ":")).encode()
    assert "x-ms-sgx-ehd" not in jws.claims


def test_json_runtime_data_stands_in_the_token_as_it_is(process: AttestationProcess) -> None:
    claims = attest(process, sgx_quote(DATA), runtimeData=client_data(DATA, "json")).claims
    assert claims["x-ms-runtime"] == {"a": [1, 2.5, "b"]}
    assert not {"x-ms-sgx-ehd", "maa-ehd", "aas-ehd"} & set(claims)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"{", "client-data-json"), (b'{"a":1e999}', "client-data-json"), (b'{"a":1,"a":1}', "client-data-json")],
)
def test_json_that_is_none_is_refused(process: AttestationProcess, data: bytes, reason: str) -> None:
    answer = attest(process, sgx_quote(data), runtimeData=client_data(data, "JSON"))
    assert (answer.status, answer.code, answer.reason) == (400, "InvalidParameter", reason)
    assert attest(process, sgx_quote(data), runtimeData=client_data(data)).status == 200


def test_data_that_the_evidence_does_not_bind_are_refused(process: AttestationProcess) -> None:
    answer = attest(process, sgx_quote(DATA), runtimeData=client_data(DATA + b" "))
    assert (answer.status, answer.code, answer.reason) == (400, "InvalidParameter", "client-data-binding")
    assert answer.headers["x-ms-error-code"] == "InvalidParameter"


def test_init_time_data_are_bound_by_the_configid(process: AttestationProcess) -> None:
    kss = Attributes(0x05 | Flag.KSS, 0xE7)
    quote = sgx_quote(configid=bound(DATA), configsvn=4, attributes=kss, isvextprodid=b"e" * 16, isvfamilyid=b"f" * 16)
    claims = attest(process, quote, initTimeData=client_data(DATA, "JSON")).claims
    assert claims["x-ms-inittime"] == {"a": [1, 2.5, "b"]}
    assert claims["x-ms-sgx-config-id"] == bound(DATA).hex()
    assert claims["x-ms-sgx-config-svn"] == 4
    assert claims["x-ms-sgx-isv-extended-product-id"] == (b"e" * 16).hex()
    assert claims["x-ms-sgx-isv-family-id"] == (b"f" * 16).hex()
    assert attest(process, quote, initTimeData=client_data(b"other")).reason == "client-data-binding"
    assert attest(process, quote, initTimeData={"dataType": "JSON"}).status == 200  # as the Python SDK sends it


@pytest.mark.parametrize("nonce", ["text", "", 2**64 - 1, 2**53 + 1])
def test_a_nonce_is_copied_as_it_came(process: AttestationProcess, nonce: str | int) -> None:
    claims = attest(process, sgx_quote(), nonce=nonce).claims
    assert claims["nonce"] == nonce
    assert type(claims["nonce"]) is type(nonce)


def test_a_draft_gives_a_token_that_is_not_signed(process: AttestationProcess) -> None:
    draft = 'version=1.0;authorizationrules{=>permit();};issuancerules{=>issue(type="level",value=100);};'
    token = attest(process, sgx_quote(), draftPolicyForAttestation=draft).json["token"]
    jws = Jws.parse(token)
    assert jws.header["alg"] == "none"
    assert set(jws.header) == {"alg", "jku", "kid", "typ"}
    assert not jws.signature
    assert jws.claims["level"] == 100
    assert jws.claims["x-ms-policy"] == {"level": 100}
    draft = "version=1.0;\nauthorizationrules{=>permit()};"
    answer = attest(process, sgx_quote(), draftPolicyForAttestation=draft)
    assert (answer.status, answer.code, answer.reason) == (400, "PolicyParsingError", "maa-parsing")
    assert "Line: '2'" in answer.json["error"]["message"]


def test_a_policy_that_denies(process: AttestationProcess) -> None:
    for rules in ("=>permit(); =>deny();", ""):
        draft = f"version=1.0;authorizationrules{{{rules}}};"
        answer = attest(process, sgx_quote(), draftPolicyForAttestation=draft)
        assert (answer.status, answer.code) == (400, "PolicyEvaluationError")
        assert "A Deny claim was issued, authorization failed." in answer.json["error"]["message"]


def test_a_policy_sees_what_azure_does_not_say(process: AttestationProcess) -> None:
    draft = 'version=1.0;authorizationrules{[type=="kloister-tcb-status",value=="UpToDate"]=>permit();};'
    assert attest(process, sgx_quote(), draftPolicyForAttestation=draft).status == 200
    draft = draft.replace("UpToDate", "OutOfDate")
    assert attest(process, sgx_quote(), draftPolicyForAttestation=draft).status == 400


def test_a_policy_cannot_overwrite_what_the_service_says(process: AttestationProcess) -> None:
    rules = (
        '=>issue(type="iss",value="evil");=>issue(type="x-ms-sgx-mrenclave",value="00");=>issue(type="exp",value=9);'
    )
    draft = f"version=1.0;authorizationrules{{=>permit();}};issuancerules{{{rules}}};"
    claims = attest(process, sgx_quote(), draftPolicyForAttestation=draft).claims
    assert (claims["iss"], claims["x-ms-sgx-mrenclave"]) == (AAD, ENCLAVE.mrenclave.hex())
    assert claims["exp"] > 10**9
    assert claims["x-ms-policy"]["iss"] == "evil"


@pytest.mark.parametrize(
    "name", ["kloister-nonce", "kloister-anything", "aud", "x-ms-policy-signer", "x-ms-runtime", "nonce", "tdx_mrtd"]
)
def test_a_policy_does_not_say_what_the_service_left_unsaid(process: AttestationProcess, name: str) -> None:
    rules = f'=>issue(type="{name}",value="forged");=>issue(type="mine",value=1);'
    draft = f"version=1.0;authorizationrules{{=>permit();}};issuancerules{{{rules}}};"
    claims = attest(process, sgx_quote(), draftPolicyForAttestation=draft).claims
    assert name not in claims
    assert claims["mine"] == 1
    assert claims["x-ms-policy"] == {name: "forged", "mine": 1}


@pytest.mark.parametrize("depth", [64, 65, 600])
def test_client_data_that_nest_too_deep_are_refused(process: AttestationProcess, depth: int) -> None:
    data = b"[" * depth + b"1" + b"]" * depth
    answer = attest(process, sgx_quote(data), runtimeData=client_data(data, "JSON"))
    expected = (200, "") if depth == 64 else (400, "client-data-json")
    assert (answer.status, answer.reason) == expected


@pytest.mark.parametrize("encoding", ["url", "url-padded", "standard", "standard-bare"])
def test_every_encoding_of_bytes_is_read(process: AttestationProcess, encoding: str) -> None:
    import base64

    quote = sgx_quote(DATA) + b"\0"  # one byte of padding, so that the text needs padding
    encode = base64.urlsafe_b64encode if encoding.startswith("url") else base64.b64encode
    text = encode(quote).decode()
    text = text if encoding in ("url-padded", "standard") else text.rstrip("=")
    answer = ask(process, "POST", "/attest/sgxenclave", {"quote": text, "unknown": 1}, bearer=None)
    assert answer.claims["x-ms-sgx-collateral"]["quotehash"] == hashlib.sha256(quote).hexdigest()


def test_an_open_enclave_report(process: AttestationProcess) -> None:
    report = open_enclave(sgx_quote(DATA))
    body = {"report": b64url(report), "runtimeData": client_data(DATA)}
    claims = ask(process, "POST", "/attest/OpenEnclave", body, bearer=None).claims
    assert claims["x-ms-attestation-type"] == "sgx"
    assert claims["x-ms-sgx-collateral"]["quotehash"] == hashlib.sha256(report).hexdigest()
    for bad in (report[:15], b"\2" + report[1:], report + b"\0", sgx_quote()):
        answer = ask(process, "POST", "/attest/OpenEnclave", {"report": b64url(bad)}, bearer=None)
        assert (answer.status, answer.reason) == (400, "oe-report-header")


def test_the_first_preview_spoke_otherwise(process: AttestationProcess) -> None:
    body = {"Quote": b64url(sgx_quote(DATA)), "EnclaveHeldData": b64url(DATA)}
    target = "/attest/SgxEnclave?api-version=2018-09-01-preview"
    assert ask(process, "POST", target, body).claims["x-ms-sgx-ehd"] == b64url(DATA)


def test_a_trust_domain(process: AttestationProcess) -> None:
    data = DATA
    body = {"quote": b64url(tdx_quote(data)), "runtimeData": client_data(data, "JSON"), "nonce": "n"}
    claims = ask(process, "POST", "/attest/TdxVm", body, bearer=None).claims
    assert claims["x-ms-attestation-type"] == "tdxvm"
    assert claims["eat_profile"] == "https://aka.ms/maa-eat-profile-tdxvm"
    assert (claims["dbgstat"], claims["intuse"], claims["attester_tcb_status"]) == ("disabled", "generic", "UpToDate")
    assert claims["tdx_mrtd"] == "61" * 48
    assert claims["tdx_rtmr3"] == "04" * 48
    assert claims["tdx_seamsvn"] == 0x0105
    assert claims["tdx_td_attributes"] == "0000001000000000"
    assert claims["tdx_td_attributes_septve_disable"] is True
    assert claims["tdx_td_attributes_debug"] is claims["tdx_td_attributes_perfmon"] is False
    assert claims["tdx_xfam"] == "e742060000000000"
    assert claims["x-ms-runtime"] == json.loads(data)
    assert claims["x-ms-policy-hash"] == "9NY0VnTQ-IiBriBplVUpFbczcDaEBUwsiFYAzHu_gco"
    assert "x-ms-compliance-status" not in claims
    assert "x-ms-policy" not in claims


def test_a_quote_of_the_other_kind_is_refused(process: AttestationProcess) -> None:
    answer = attest(process, tdx_quote())
    assert answer.status == 400
    answer = ask(process, "POST", "/attest/TdxVm", {"quote": b64url(sgx_quote())}, bearer=None)
    assert answer.status == 400


def test_simulated_evidence_needs_an_instance_that_is_declared_so(process: AttestationProcess) -> None:
    assert attest(process, sgx_quote(), SHARED).status == 200
    answer = attest(process, sgx_quote(), STRICT)
    assert (answer.status, answer.reason) == (400, "simulated-not-allowed")
    strict, simulated = (ask(process, "GET", "/certs", base=base, bearer=None).json["keys"] for base in (STRICT, AAD))
    assert not {key["kid"] for key in strict} & {key["kid"] for key in simulated}


def test_an_instance_that_was_declared_simulated_has_other_keys_afterwards(tmp_path: Path) -> None:
    found = []
    for simulated in (True, False, True):
        with running(settings(tmp_path, [{"base_url": AAD, "simulated": simulated}])) as process:
            keys = ask(process, "GET", "/certs", bearer=None).json["keys"]
            found.append({key["kid"] for key in keys})
    assert not found[0] & found[1]
    assert found[0] == found[2]


def test_a_status_that_the_operator_does_not_accept(tmp_path: Path) -> None:
    given = settings(tmp_path)
    (tmp_path / "bundles" / "sgx.json").write_text(
        json.dumps(Forge().documents(TcbStage(status=TcbStatus.OUT_OF_DATE)))
    )
    with running(given) as process:
        answer = attest(process, sgx_quote())
        assert (answer.status, answer.reason) == (400, "tcb-not-accepted")
        assert "OutOfDate" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "attest-request-json"),
        (b"[]", 400, "attest-request-field"),
        (b'{"quote":1}', 400, "attest-request-field"),
        (b'{"quote":"!"}', 400, "attest-request-field"),
        (b'{"quote":"AAAA"}', 400, "quote-truncated"),
        (b'{"quote":"AAAA","quote":"AAAA"}', 400, "attest-request-json"),
        (b'{"quote":"AAAA","runtimeData":{"data":"AA","dataType":"Xml"}}', 400, "attest-request-field"),
        (b'{"quote":"AAAA","nonce":-1}', 400, "attest-request-field"),
        (b'{"quote":"AAAA","nonce":"\\ud800"}', 400, "attest-request-field"),
        (b" " * (256 * 1024 + 1), 413, "body-size"),
    ],
)
def test_bad_requests_are_never_our_fault(process: AttestationProcess, body: bytes, status: int, reason: str) -> None:
    answer = ask(process, "POST", "/attest/SgxEnclave", body)
    assert (answer.status, answer.reason) == (status, reason)


def test_evidence_that_nobody_vouches_for(process: AttestationProcess, tmp_path: Path) -> None:
    quote = bytearray(sgx_quote())
    quote[100] ^= 1
    assert attest(process, bytes(quote)).reason == "quote-signature"
    given = settings(tmp_path)
    (tmp_path / "bundles" / "sgx.json").unlink()
    with running(given) as other:
        assert attest(other, sgx_quote()).reason == "collateral-none"


def test_a_policy_chooses_the_baseline(process: AttestationProcess) -> None:
    number = attest(process, sgx_quote()).claims["kloister-tcb-evaluation-number"]

    def draft(identifier: str) -> str:
        rule = f'=> issueproperty(type="x-ms-sgx-tcbidentifier", value="{identifier}");'
        return f"version=1.1;configurationrules{{{rule}}};authorizationrules{{=> permit();}};"

    for identifier in (str(number), "azuredefault"):
        claims = attest(process, sgx_quote(), draftPolicyForAttestation=draft(identifier)).claims
        assert "x-ms-sgx-tcbidentifier" not in claims
    assert attest(process, sgx_quote(), draftPolicyForAttestation=draft("99")).reason == "collateral-none"
    assert attest(process, sgx_quote(), draftPolicyForAttestation=draft("x")).reason == "tcb-identifier"


def test_audience_and_validity_are_the_operators(tmp_path: Path) -> None:
    with running(settings(tmp_path, tokens={"audience": "app", "validity": 60, "algorithm": "ES256"})) as process:
        answer = attest(process, sgx_quote(), draftPolicyForAttestation=None)
        assert answer.claims["aud"] == "app"
        assert answer.claims["exp"] - answer.claims["iat"] == 60
        assert Jws.parse(answer.json["token"]).algorithm == "ES256"


def test_the_policy_permits_nothing_by_being_there(process: AttestationProcess) -> None:
    assert attest(process, sgx_quote(), draftPolicyForAttestation=PERMIT).status == 200


def test_drafts_wait_for_their_turn(process: AttestationProcess) -> None:
    drafts = process.service._drafts
    taken = [drafts.acquire() for _ in range(2)]
    try:
        assert attest(process, sgx_quote()).status == 200
        answer = attest(process, sgx_quote(), draftPolicyForAttestation=PERMIT)
        assert (answer.status, answer.reason) == (429, "rate-exceeded")
    finally:
        for _ in taken:
            drafts.release()
    assert attest(process, sgx_quote(), draftPolicyForAttestation=PERMIT).status == 200


def test_a_policy_that_takes_long_holds_up_nobody(process: AttestationProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    real = process.service.attest

    def attested(*arguments: Any, wait: bool) -> str:
        waited.append(wait)
        return real(*arguments, wait=wait)

    monkeypatch.setattr(process.service, "attest", attested)
    assert attest(process, sgx_quote()).status == 200
    assert waited == [False]
    monkeypatch.setattr(service, "_QUICK", 3)
    assert attest(process, sgx_quote(isvsvn=9)).status == 200  # of what the policy has not judged before
    assert waited == [False, False, True]
