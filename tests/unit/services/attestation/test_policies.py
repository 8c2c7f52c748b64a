from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils

from kloister.formats.tokens import Jws, sign
from kloister.formats.tokens.policy import PolicyToken, policy_token
from kloister.formats.wire import b64url, canonical_json
from kloister.serve.attestation import AttestationProcess
from kloister.services.broker import audit
from kloister.services.storage.attestation import AttestationStore
from tests.support.attestation import AAD, ISOLATED, PERMIT, SHARED, Answer, Signer, ask, issue, running, settings

NONE = "eyJhbGciOiJub25lIn0.."


@pytest.fixture
def fresh(tmp_path: Path, owner: Signer) -> Iterator[AttestationProcess]:
    (tmp_path / "owner.pem").write_text(owner.pem)
    instances: list[dict[str, Any]] = [
        {"base_url": AAD, "simulated": True},
        {"base_url": ISOLATED, "trust_model": "isolated", "policy_certificates": ["owner.pem"]},
    ]
    with running(settings(tmp_path, instances, policies={"monotonic_iat": True})) as made:
        yield made


def payload(text: str = PERMIT, **others: Any) -> bytes:
    return canonical_json({"AttestationPolicy": b64url(text.encode()), **others})


def signed(signer: Signer, data: bytes, form: str = "x5c", chain: list[str] | None = None) -> str:
    """A JWS as each SDK writes it."""
    x5c = chain or [signer.x5c]
    header: dict[str, Any] = {"x5c": x5c} if form == "x5c" else {"jwk": {"x5c": x5c}}
    if form == "x5c":
        return sign(header, data, signer.key)
    header["alg"] = "RSA256" if isinstance(signer.key, rsa.RSAPrivateKey) else "ECDH256"
    text = f"{b64url(canonical_json(header))}.{b64url(data)}"
    jws = Jws.parse(sign({}, data, signer.key))
    assert jws.payload == data
    return f"{text}.{b64url(_raw(signer, text.encode(), form))}"


def _raw(signer: Signer, text: bytes, form: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(signer.key, rsa.RSAPrivateKey):
        return signer.key.sign(text, padding.PKCS1v15(), SHA256())
    der = signer.key.sign(text, ec.ECDSA(SHA256()))
    if form == "jwk-der":
        return der
    return b"".join(number.to_bytes(32, "big") for number in utils.decode_dss_signature(der))


def put(process: AttestationProcess, text: str, base: str = AAD, kind: str = "SgxEnclave") -> Answer:
    return ask(process, "PUT", f"/policies/{kind}", text, base=base)


def stored(process: AttestationProcess, base: str = AAD, kind: str = "SgxEnclave") -> str:
    return str(ask(process, "GET", f"/policies/{kind}", base=base).claims["x-ms-policy"])


def test_the_default_is_served_where_none_was_set(process: AttestationProcess) -> None:
    assert stored(process, kind="Tpm") == NONE
    claims = Jws.parse(stored(process, kind="OpenEnclave")).claims
    assert claims["AttestationPolicy"].startswith(b64url(b"version= 1.0;authorizationrules{=> permit();};")[:40])
    assert stored(process).startswith("eyJhbGciOiJub25lIn0.")
    assert stored(process, kind="SevSnpVm") == policy_token("version= 1.0;authorizationrules{=> permit();};")


def test_results_have_times_and_no_name(process: AttestationProcess) -> None:
    claims = ask(process, "GET", "/policies/SgxEnclave").claims
    assert set(claims) == {"exp", "iat", "iss", "nbf", "x-ms-policy"}
    assert claims["exp"] == claims["iat"] + 3600 == claims["nbf"] + 3600


@pytest.mark.parametrize("form", ["x5c", "jwk", "jwk-der"])
@pytest.mark.parametrize("kind", ["unsigned", "rsa", "ec"])
def test_every_form_is_put_into_force(
    process: AttestationProcess, owner: Signer, curve_owner: Signer, kind: str, form: str
) -> None:
    signer = owner if kind == "rsa" else curve_owner
    text = policy_token(PERMIT) if kind == "unsigned" else signed(signer, payload(), form)
    claims = put(process, text).claims
    assert claims["x-ms-policy-result"] == "Updated"
    assert claims["x-ms-policy-token-hash"] == b64url(hashlib.sha256(text.encode()).digest())
    assert stored(process) == text
    if kind == "unsigned":
        assert "x-ms-policy-signer" not in claims
    else:
        alg, kty = ("RS256", "RSA") if kind == "rsa" else ("ES256", "EC")
        assert claims["x-ms-policy-signer"] == {"alg": alg, "kty": kty, "use": "sig", "x5c": [signer.x5c]}
    reset = ask(process, "POST", "/policies/SgxEnclave:reset", NONE).claims
    assert reset["x-ms-policy-result"] == "Removed"
    assert "x-ms-policy-token-hash" not in reset
    assert stored(process) != text


def test_tokens_name_the_policy_and_its_signer(process: AttestationProcess, owner: Signer) -> None:
    from tests.support.attestation import sgx_quote

    body = {"quote": b64url(sgx_quote())}
    put(process, signed(owner, payload()))
    claims = ask(process, "POST", "/attest/SgxEnclave", body).claims
    assert claims["x-ms-policy-hash"] == "z0FRjKS0ssQTNur1V6BV8WIrh9M3fzgTo0EfHRvapWU"
    assert claims["x-ms-policy-signer"] == {"kty": "RSA", "x5c": [owner.x5c]}
    assert "x-ms-policy" not in claims
    draft = ask(process, "POST", "/attest/SgxEnclave", {**body, "draftPolicyForAttestation": PERMIT}).claims
    assert "x-ms-policy-signer" not in draft
    ask(process, "POST", "/policies/SgxEnclave:reset", NONE)


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("no token", "InvalidOperation", "token-syntax"),
        ("eyJhbGciOiJub25lIn0.e30.", "InvalidOperation", "policy-token-claim"),
        ("eyJhbGciOiJub25lIn0.W10.", "InvalidOperation", "policy-token-claim"),
        ("eyJhbGciOiJub25lIn0.e30.AAAA", "InvalidOperation", "policy-token-signature"),
        ("eyJhbGciOiJSUzI1NiJ9.e30.AAAA", "InvalidOperation", "policy-token-certificate"),
        (policy_token("version=1.0;authorizationrules{=>permit()};"), "PolicyParsingError", "maa-parsing"),
        (
            policy_token("version=1.0;authorizationrules{=>issue(type=1,value=1);};"),
            "PolicyParsingError",
            "maa-parsing",
        ),
    ],
)
def test_what_is_no_policy_is_refused(process: AttestationProcess, text: str, code: str, reason: str) -> None:
    answer = put(process, text)
    assert (answer.status, answer.code, answer.reason) == (400, code, reason)


def test_a_changed_signature_is_refused(process: AttestationProcess, owner: Signer) -> None:
    header, body, signature = signed(owner, payload()).split(".")
    other = signed(owner, payload("version=1.0;authorizationrules{};")).split(".")[1]
    answer = put(process, f"{header}.{other}.{signature}")
    assert (answer.status, answer.reason) == (400, "policy-token-signature")
    assert put(process, f"{header}.{body}.{signature}").status == 200
    ask(process, "POST", "/policies/SgxEnclave:reset", NONE)


def test_a_shared_instance_is_nobodys_to_change(process: AttestationProcess) -> None:
    assert put(process, policy_token(PERMIT), SHARED).reason == "policy-shared"
    assert ask(process, "POST", "/policies/SgxEnclave:reset", NONE, base=SHARED).reason == "policy-shared"
    assert stored(process, SHARED)


def test_an_isolated_instance_takes_its_owners_word_only(
    process: AttestationProcess, owner: Signer, curve_owner: Signer
) -> None:
    assert put(process, policy_token(PERMIT), ISOLATED).reason == "policy-unsigned"
    assert put(process, signed(curve_owner, payload()), ISOLATED).reason == "policy-signer"
    assert put(process, signed(owner, payload()), ISOLATED).status == 200
    reset = "/policies/SgxEnclave:reset"
    assert ask(process, "POST", reset, NONE, base=ISOLATED).reason == "policy-unsigned"
    assert ask(process, "POST", reset, signed(owner, b""), base=ISOLATED).status == 200
    assert ask(process, "POST", reset, signed(owner, payload()), base=ISOLATED).reason == "policy-token-payload"


def test_a_signer_under_an_owners_authority(process: AttestationProcess, owner: Signer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = Signer(key, issue("leaf", key, "owner", owner.key, ca=False))
    chain = [leaf.x5c, owner.x5c]
    assert put(process, signed(leaf, payload(), chain=chain), ISOLATED).status == 200
    assert put(process, signed(leaf, payload(), chain=[leaf.x5c]), ISOLATED).reason == "policy-signer"
    below = Signer(key, issue("below", key, "leaf", key))
    answer = put(process, signed(below, payload(), chain=[below.x5c, leaf.x5c, owner.x5c]), ISOLATED)
    assert answer.reason == "policy-signer"  # the leaf is no CA
    stranger = Signer(key, issue("leaf", key, "owner", key))
    assert (
        put(process, signed(stranger, payload(), chain=[stranger.x5c, owner.x5c]), ISOLATED).reason == "policy-signer"
    )
    ask(process, "POST", "/policies/SgxEnclave:reset", signed(owner, b""), base=ISOLATED)


@pytest.mark.parametrize("claim", ["policyCertificate", "maa-policyCertificate", "x-ms-policyCertificate"])
def test_certificates_are_added_and_removed(
    process: AttestationProcess, owner: Signer, curve_owner: Signer, claim: str
) -> None:
    body = f'"{signed(owner, canonical_json({claim: {"kty": "EC", "x5c": [curve_owner.x5c]}}))}"'
    thumbprint = hashlib.sha1(curve_owner.der, usedforsecurity=False).hexdigest().upper()
    for path, result, count in [("add", "IsPresent", 2), ("remove", "IsAbsent", 1)]:
        for _ in range(2):
            claims = ask(process, "POST", f"/certificates:{path}", body, base=ISOLATED).claims
            assert claims["x-ms-policycertificates-result"] == claims["x-ms-certificate-result"] == result
            assert claims["x-ms-certificate-thumbprint"] == thumbprint
        keys = ask(process, "GET", "/certificates", base=ISOLATED).claims["x-ms-policy-certificates"]["keys"]
        assert len(keys) == count
        assert {"alg": "RS256", "kty": "RSA", "use": "sig", "x5c": [owner.x5c]} in keys


def test_the_last_certificate_stays(process: AttestationProcess, owner: Signer) -> None:
    body = signed(owner, canonical_json({"policyCertificate": {"x5c": [owner.x5c]}}))
    assert ask(process, "POST", "/certificates:remove", body, base=ISOLATED).reason == "certificate-last"
    assert ask(process, "POST", "/certificates:add", body, base=AAD).reason == "certificates-not-isolated"
    assert ask(process, "GET", "/certificates", base=AAD).claims["x-ms-policy-certificates"] == {"keys": []}
    body = signed(owner, canonical_json({}))
    answer = ask(process, "POST", "/certificates:add", body, base=ISOLATED)
    assert 'Could not find "maa-policyCertificate" claim in policy token' in answer.json["error"]["message"]


def test_acts_are_in_the_audit_and_a_replayed_policy_is_found(fresh: AttestationProcess, tmp_path: Path) -> None:
    for text in (PERMIT, PERMIT + " ", PERMIT):
        assert put(fresh, policy_token(text)).status == 200
    store = AttestationStore(f"sqlite:///{tmp_path / 'attestation.db'}")
    with store.read() as transaction:
        records, head = transaction.audit(0, 100), transaction.audit_head()
    store.close()
    assert head is not None
    entries = [audit._fields(record.body, 0) for record in records]
    assert audit.verify([(each.sequence, each.body, each.hash) for each in records], (head.sequence, head.hash))
    acts = [entry for entry in entries if entry["event"] == "policy-set"]
    assert [entry.get("replayed") for entry in acts] == [None, None, 1]
    assert acts[0]["instance"] == AAD
    assert acts[0]["actor"].startswith("bearer:")
    assert "a-token-of-the-tests" not in str(entries)


def test_a_signed_policy_that_is_older_is_refused_where_that_is_asked_for(
    fresh: AttestationProcess, owner: Signer
) -> None:
    now = int(datetime.now(UTC).timestamp())
    first, second = (signed(owner, payload(iat=at)) for at in (now - 10, now))
    assert [put(fresh, text, ISOLATED).reason for text in (first, second, first, second)] == [
        "", "", "policy-replayed", "policy-replayed",
    ]  # fmt: skip
    assert put(fresh, signed(owner, payload()), ISOLATED).reason == "policy-replayed"
    assert put(fresh, second, ISOLATED, kind="TdxVm").reason == "policy-replayed"


def test_a_reset_that_was_signed_once_resets_once_where_that_is_asked_for(
    fresh: AttestationProcess, curve_owner: Signer, owner: Signer
) -> None:
    for number, signer in enumerate((owner, curve_owner)):
        if signer is curve_owner:
            certificate = {"policyCertificate": {"x5c": [signer.x5c]}, "iat": 5}
            body = signed(owner, canonical_json(certificate))
            assert ask(fresh, "POST", "/certificates:add", body, base=ISOLATED).status == 200
        reset = signed(signer, b"", "jwk")
        answers = [
            ask(fresh, "POST", f"/policies/{kind}:reset", text, base=ISOLATED).reason
            for kind, text in (("SgxEnclave", reset), ("SgxEnclave", reset), ("TdxVm", signed(signer, b"", "jwk-der")))
        ]
        assert answers == ["", "policy-replayed", "policy-replayed"], number
        again = sign({"x5c": [signer.x5c], "iat": 7}, b"", signer.key)
        assert ask(fresh, "POST", "/policies/SgxEnclave:reset", again, base=ISOLATED).status == 200


def test_a_certificate_that_was_removed_is_not_added_again_by_the_old_word(
    fresh: AttestationProcess, curve_owner: Signer, owner: Signer
) -> None:
    def change(path: str, text: str) -> str:
        return ask(fresh, "POST", f"/certificates:{path}", text, base=ISOLATED).reason

    certificate = {"policyCertificate": {"x5c": [curve_owner.x5c]}}
    add, remove, late = (signed(owner, canonical_json({**certificate, "iat": at})) for at in (5, 6, 7))
    assert [change("add", add), change("remove", remove)] == ["", ""]
    assert [change("add", add), change("add", remove)] == ["policy-replayed", "policy-replayed"]
    assert change("add", signed(owner, canonical_json(certificate))) == "policy-replayed"
    assert change("add", late) == ""


def test_another_signature_over_the_same_words_is_found_as_a_replay(curve_owner: Signer) -> None:
    raw = sign({"x5c": [curve_owner.x5c]}, payload(), curve_owner.key)
    jws = Jws.parse(raw)
    r, s = (int.from_bytes(part, "big") for part in (jws.signature[:32], jws.signature[32:]))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = replace(jws, signature=r.to_bytes(32, "big") + (order - s).to_bytes(32, "big")).build()
    assert other != raw
    first, second = PolicyToken.parse(raw), PolicyToken.parse(other)
    assert first.sha256 != second.sha256
    assert first.content == second.content


def test_a_policy_survives_a_restart(tmp_path: Path) -> None:
    given = settings(tmp_path)
    with running(given) as process:
        assert put(process, policy_token(PERMIT)).status == 200
        keys = ask(process, "GET", "/certs").json
    with running(given) as process:
        assert stored(process) == policy_token(PERMIT)
        assert ask(process, "GET", "/certs").json == keys
