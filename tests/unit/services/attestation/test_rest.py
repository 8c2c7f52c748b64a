from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kloister.formats.tokens import Jws
from kloister.formats.tokens.policy import policy_token
from kloister.formats.wire import b64url, unb64url
from kloister.serve.attestation import AttestationProcess
from kloister.services.attestation import rest
from kloister.services.attestation.limits import RateLimit
from kloister.services.attestation.nonces import Nonces
from kloister.services.broker.vault import Vault
from kloister.trust.policy.maa import lint, parse_policy
from tests.support.attestation import (
    AAD,
    BEARER,
    ISOLATED,
    PERMIT,
    ROOT_KEY,
    Answer,
    Signer,
    ask,
    client_data,
    running,
    settings,
    sgx_quote,
)


def test_metadata_and_keys_are_anybodys(process: AttestationProcess) -> None:
    document = ask(process, "GET", "/.well-known/openid-configuration?", base=ISOLATED, bearer=None).json
    assert document["issuer"] == ISOLATED
    assert document["jwks_uri"] == f"{ISOLATED}/certs"
    assert document["response_types_supported"] == ["token", "none"]
    assert document["id_token_signing_alg_values_supported"] == ["RS256"]
    assert document["revocation_endpoint"] == f"{ISOLATED}/revoke"
    (key,) = ask(process, "GET", "/certs?", base=ISOLATED, bearer=None).json["keys"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0], validate=True))
    pem = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert key["kid"] == base64.b64encode(hashlib.sha256(pem + b"\0").digest()).decode()
    assert certificate.subject.rfc4514_string() == f"CN={ISOLATED}"
    assert key["kty"] == "RSA"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/policies/SgxEnclave"),
        ("PUT", "/policies/SgxEnclave"),
        ("POST", "/policies/SgxEnclave:reset"),
        ("GET", "/certificates"),
        ("POST", "/certificates:add"),
        ("POST", "/certificates:remove"),
        ("POST", "/attest/Tpm"),
    ],
)
def test_administration_needs_a_bearer(process: AttestationProcess, method: str, path: str) -> None:
    for bearer, reason in [(None, "bearer-missing"), ("other", "bearer-refused"), (BEARER + "x", "bearer-refused")]:
        answer = ask(process, method, path, b"{}", bearer=bearer)
        assert (answer.status, answer.code, answer.reason) == (401, "Unauthorized", reason)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(process, method, path, b"{}").status != 401


def test_a_bearer_that_is_not_needed_is_left_alone(process: AttestationProcess) -> None:
    for bearer in (None, "nonsense"):
        assert ask(process, "GET", "/certs", bearer=bearer).status == 200
        assert ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(sgx_quote())}, bearer=bearer).status == 200


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("/attest/SgxEnclave?api-version=2022-08-01", 400, "attest-request-json"),
        ("/attest/SgxEnclave?api-version=2026-03-11-preview&x=1", 400, "attest-request-json"),
        ("/ATTEST//sgxENCLAVE/?api-version=2025-06-01", 400, "attest-request-json"),
        ("/attest/SgxEnclave?api-version=1999-01-01", 400, "api-version"),
        ("/attest/SgxEnclave?", 400, "api-version"),
        ("/attest/SgxEnclave?api-version=2022-08-01" + "&x=1" * 30, 400, "query-size"),
        ("/attest/Nothing", 404, "attestation-path"),
        ("/attest", 404, "attestation-path"),
        ("/", 404, "attestation-path"),
        ("/policies", 404, "attestation-path"),
        ("/policies/SgxEnclave:other", 404, "attestation-path"),
        ("/policies/Nothing", 404, "attestation-path"),
        ("/attest/AzureGuest", 400, "attestation-type"),
        ("/certs", 405, "attestation-method"),
        ("/certificates", 405, "attestation-method"),
        ("/healthz", 405, "attestation-method"),
    ],
)
def test_paths_and_versions(process: AttestationProcess, target: str, status: int, reason: str) -> None:
    answer = ask(process, "POST", target)
    assert (answer.status, answer.reason) == (status, reason)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/certs", "GET"),
        ("/policies/SgxEnclave", "GET, PUT"),
        ("/policies/SgxEnclave:reset", "POST"),
        ("/attest/Tpm", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(process: AttestationProcess, path: str, allowed: str) -> None:
    answer = ask(process, "DELETE", path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_instances_are_told_apart_by_host(process: AttestationProcess) -> None:
    assert ask(process, "GET", "/certs", base="https://nobody.test").status == 404
    assert ask(process, "GET", "/certs", base=AAD.upper().replace("HTTPS", "https")).status == 200
    assert ask(process, "GET", "/certs", base=f"{AAD}:8443").json == ask(process, "GET", "/certs").json
    assert ask(process, "GET", "/certs").json != ask(process, "GET", "/certs", base=ISOLATED).json


def test_a_request_has_a_name(process: AttestationProcess) -> None:
    given = "0b2c7c3e-0000-4000-8000-000000000000"
    answer = ask(process, "GET", "/certs", headers={"x-ms-client-request-id": given})
    assert answer.headers["x-ms-request-id"] == given
    answer = ask(process, "GET", "/certs", headers={"x-ms-client-request-id": 'x"\n'})
    assert len(answer.headers["x-ms-request-id"]) == 20


def test_a_client_is_slowed_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "RateLimit", lambda rate, _: RateLimit(rate, lambda: 0.0))
    with running(settings(tmp_path, limits={"rate": 1})) as process:
        answers = [ask(process, "POST", "/attest/SgxEnclave", b"{}") for _ in range(3)]
    assert [answer.status for answer in answers] == [400, 400, 429]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].code == "TooManyRequests"


def test_the_first_round_of_a_tpm(process: AttestationProcess) -> None:
    message = b64url(b'{"payload":{"type":"aikcert"}}')
    refused = ask(process, "POST", "/attest/Tpm", {"data": message})
    assert (refused.status, refused.code) == (400, "InvalidOperation")
    assert "A VBS attestation policy has not been set on the attestation provider." in refused.json["error"]["message"]
    assert ask(process, "PUT", "/policies/Tpm", policy_token(PERMIT)).status == 200
    answers = [ask(process, "POST", "/attest/Tpm", {"data": message}).json["data"] for _ in range(2)]
    rounds = [json.loads(unb64url(answer, "answer"))["payload"] for answer in answers]
    assert set(rounds[0]) == {"challenge", "service_context"}
    assert len(unb64url(rounds[0]["challenge"], "challenge")) == 16
    assert rounds[0]["challenge"] != rounds[1]["challenge"]
    for bad in ("", "!", b64url(b"[]"), b64url(b'{"payload":{"type":"other"}}')):
        assert ask(process, "POST", "/attest/Tpm", {"data": bad}).status == 400
    assert ask(process, "POST", "/policies/Tpm:reset", "eyJhbGciOiJub25lIn0..").status == 200


def test_health_readiness_metrics_and_the_document(process: AttestationProcess) -> None:
    assert ask(process, "GET", "/healthz", base="https://probe", bearer=None).status == 200
    ready = ask(process, "GET", "/readyz", base="https://probe", bearer=None)
    assert (ready.status, ready.json["problems"]) == (200, [])
    ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(sgx_quote())})
    text = ask(process, "GET", "/metrics", bearer=None).body.decode()
    assert 'kloister_attestation_verdicts_total{reason="accepted",type="SgxEnclave"}' in text
    assert 'kloister_attestation_step_seconds_count{step="sign"}' in text
    assert "kloister_attestation_collateral_left_seconds" in text
    document = ask(process, "GET", "/openapi.json", bearer=None).json
    assert "/attest/SgxEnclave" in document["paths"]
    assert document["openapi"].startswith("3.1")


def test_not_ready_where_all_collateral_has_expired(tmp_path: Path) -> None:
    appraisal = {"extra_roots": ["root.der"], "dangerous_at": "2027-06-15T12:00:00Z"}
    with running(settings(tmp_path, appraisal=appraisal)) as process:
        answer = ask(process, "GET", "/readyz")
    assert answer.status == 503
    assert "expired" in answer.json["problems"][0]


def test_without_auth_nobody_administers(tmp_path: Path) -> None:
    with running(settings(tmp_path, auth={})) as process:
        assert ask(process, "GET", "/policies/SgxEnclave").status == 401


def test_a_policy_signer_is_an_owner_whose_key_fits(process: AttestationProcess, owner: Signer) -> None:
    token = ask(process, "GET", "/certificates", base=ISOLATED).json["token"]
    keys = Jws.parse(token).claims["x-ms-policy-certificates"]["keys"]
    assert [key["x5c"] for key in keys] == [[owner.x5c]]


def test_a_nonce_of_ours_is_known_again(process: AttestationProcess) -> None:
    def attest(nonce: object) -> Answer:
        data = json.dumps({"kloister-nonce": nonce}).encode()
        body = {"quote": b64url(sgx_quote(data)), "runtimeData": client_data(data, "JSON")}
        return ask(process, "POST", "/attest/SgxEnclave", body)

    given = ask(process, "POST", "/v1/nonce?", bearer=None).json
    assert attest(given["nonce"]).claims["kloister-nonce"] == given["nonce"]
    other = ask(process, "POST", "/v1/nonce", base=ISOLATED).json["nonce"]
    for bad in (other, given["nonce"][:-2], "", 1, None):
        assert attest(bad).reason == "attestation-nonce"
    nonces = Nonces(Vault(ROOT_KEY, bytes), bytes)
    old = nonces.make(AAD, 1_700_000_000)["nonce"]
    assert attest(old).reason == "attestation-nonce-expired"


def test_a_policy_can_demand_a_nonce_of_ours(process: AttestationProcess) -> None:
    policy = 'version=1.0;authorizationrules{[type=="kloister-nonce"]=>permit();};'
    assert not lint(parse_policy(policy))

    def attest(data: bytes, **more: Any) -> Answer:
        body = {"quote": b64url(sgx_quote(data)), "runtimeData": client_data(data, "JSON"), **more}
        return ask(process, "POST", "/attest/SgxEnclave", {**body, "draftPolicyForAttestation": policy})

    nonce = ask(process, "POST", "/v1/nonce?", bearer=None).json["nonce"]
    assert attest(json.dumps({"kloister-nonce": nonce}).encode()).status == 200
    assert attest(b"{}").reason == "maa-not-permitted"
    assert attest(b"{}", nonce=nonce).reason == "maa-not-permitted", "it is only sent, and bound to nothing"


def test_the_audit_log_is_the_administrators(process: AttestationProcess) -> None:
    assert ask(process, "GET", "/v1/audit", bearer=None).status == 401
    page = ask(process, "GET", "/v1/audit?after=1").json
    assert page["headIsGenuine"] is True
    assert page["entries"][0]["sequence"] == 2
    assert ask(process, "GET", "/v1/audit?after=x").reason == "audit-after"
    assert ask(process, "POST", "/v1/other").status == 404


def test_attestations_are_in_the_audit_where_that_is_switched_on(tmp_path: Path) -> None:
    with running(settings(tmp_path, audit={"attestations": True})) as process:
        jti = ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(sgx_quote())}).claims["jti"]
        ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(b"no quote")})
        entries = [json.loads(each["body"]) for each in ask(process, "GET", "/v1/audit?").json["entries"]]
    assert [(each["event"], each.get("jti")) for each in entries[-2:]] == [("attested", jti), ("attest-refused", None)]
    assert entries[-1]["code"] == "quote-truncated"


def test_refusals_of_strangers_do_not_fill_the_audit(tmp_path: Path) -> None:
    with running(settings(tmp_path, audit={"attestations": True})) as process:
        begin = time.monotonic()
        for _ in range(40):
            assert ask(process, "POST", "/attest/SgxEnclave", {"quote": "AAAA"}, bearer=None).status == 400
        entries = [json.loads(each["body"]) for each in ask(process, "GET", "/v1/audit").json["entries"]]
        most = 5 + 2 * (time.monotonic() - begin)  # a burst, and two a second
    assert 1 <= sum(each["event"] == "attest-refused" for each in entries) <= most


def test_a_fault_of_ours_shows_nothing_of_it(process: AttestationProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(process.service, "attest", fail)
    answer = ask(process, "POST", "/attest/SgxEnclave", {"quote": "AAAA"})
    assert (answer.status, answer.code, answer.reason) == (500, "InternalError", "internal")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body


def test_a_body_that_does_not_come(tmp_path: Path) -> None:
    with running(settings(tmp_path, limits={"seconds": 1})) as slow:
        answer = ask(slow, "POST", "/attest/SgxEnclave", b"{}", silent=True)
    assert (answer.status, answer.reason) == (408, "body-late")
