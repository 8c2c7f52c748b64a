"""Tokens of attestation services: whose they are, whether they are genuine, and what the policy makes of them."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloister.errors import KloisterError, Malformed, Unverified
from kloister.formats.tokens import JwkSet, jwk_of, maa, sign, unsecured
from kloister.formats.tokens.reading import Form, read_claims
from kloister.services.appraisal import OPERATOR_NAMED, Appraisal, TokenKeys, appraise
from kloister.services.appraisal.issuer import METADATA, fetch_keys
from kloister.services.collateral.transport import Endpoint, HttpTransport
from kloister.simulator.pcs import PcsAnswer
from kloister.trust.policy.appraisal import AppraisalPolicy, parse_appraisal
from kloister.trust.verifier.token import verify_token
from tests.support import pcs
from tests.support.evidence import Forge, code_of
from tests.support.snp import SnpForge, rsa_key
from tests.support.tokens import KEYS
from tests.support.trust_domains import TdForge

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ISSUER = "https://one.attest.example"
SECONDS = int(NOW.timestamp())
MAA = {
    "iss": ISSUER, "iat": SECONDS, "nbf": SECONDS, "exp": SECONDS + 28800, "x-ms-ver": "1.0",
    "x-ms-attestation-type": "sgx", "x-ms-sgx-is-debuggable": False, "x-ms-sgx-product-id": 7,
    "x-ms-sgx-svn": 3, "x-ms-sgx-mrenclave": "11" * 32,
    "x-ms-sgx-mrsigner": "22" * 32, "x-ms-sgx-report-data": "33" * 64, "x-ms-runtime": {"keys": []},
}  # fmt: skip
SNP = {
    "iss": ISSUER, "exp": SECONDS + 60, "x-ms-attestation-type": "sevsnpvm", "x-ms-sevsnpvm-is-debuggable": False,
    "x-ms-sevsnpvm-launchmeasurement": "44" * 48, "x-ms-sevsnpvm-microcode-svn": 219, "x-ms-sevsnpvm-vmpl": 0,
}  # fmt: skip
TDX = {
    "iss": ISSUER, "exp": SECONDS + 60, "x-ms-attestation-type": "tdxvm", "tdx_mrtd": "55" * 48,
    "tdx_td_attributes_debug": False, "attester_tcb_status": "UpToDate",
}  # fmt: skip
EAR = {
    "iss": "Trustee", "exp": SECONDS + 60, "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
    "ear.verifier-id": {"developer": "d", "build": "b"},
    "submods": {"cpu0": {
        "ear.status": "affirming", "ear.veraison.annotated-evidence": {"snp": {"chip_id": "ab" * 64}},
    }},
}  # fmt: skip
SET = JwkSet.parse(json.dumps({"keys": [jwk_of(key.public_key(), name) for name, key in KEYS.items()]}).encode())
POLICY = OPERATOR_NAMED


def token(claims: Mapping[str, Any], algorithm: str = "RS256", **header: Any) -> bytes:
    return sign({"kid": algorithm, "typ": "JWT", **header}, json.dumps(claims).encode(), KEYS[algorithm]).encode()


def judged(
    data: bytes,
    keys: JwkSet | None = SET,
    issuer: str | None = None,
    at: datetime = NOW,
    policy: AppraisalPolicy | None = AppraisalPolicy(),  # noqa: B008 -- frozen
) -> Appraisal:
    given = TokenKeys(keys, issuer) if keys else None
    return appraise(data, None, [], at, policy, token_keys=given)


def reason(data: bytes, **arguments: Any) -> str:
    found = judged(data, **arguments)
    return found.reason.code if found.reason else "accepted"


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize(
    ("claims", "kind", "tee"),
    [(MAA, "maa-token", "sgx"), (SNP, "maa-token", "snp"), (TDX, "maa-token", "tdx"), (EAR, "ear-token", None)],
)
def test_a_token_is_verified_by_its_issuers_keys(
    algorithm: str, claims: dict[str, Any], kind: str, tee: str | None
) -> None:
    for data in (token(claims, algorithm), jwt.encode(claims, KEYS[algorithm], algorithm, {"kid": algorithm}).encode()):
        found = judged(data, issuer=claims["iss"])
        assert (found.genuine, found.accepted, found.kind, found.tee) == (True, True, kind, tee)
        document = found.as_json(show_identifiers=True)
        assert document["claims"] == claims
        assert (document["issuer"], document["simulated"]) == (claims["iss"], False)
        assert document["expires"] == f"{datetime.fromtimestamp(claims['exp'], UTC):%Y-%m-%dT%H:%M:%SZ}"


def test_without_keys_it_is_said_whose_it_claims_to_be() -> None:
    found = judged(token(MAA), keys=None)
    assert found.reason is not None
    assert (found.genuine, found.kind, found.reason.code) == (False, "maa-token", "token-keys-missing")
    assert "Microsoft Azure Attestation" in found.reason.text
    assert ISSUER in found.reason.text
    assert found.claims is None
    assert found.as_json()["claims"] is None
    assert found.unverified == MAA


def test_a_token_without_a_signature_is_called_so_even_without_keys() -> None:
    found = judged(unsecured({}, json.dumps(MAA).encode()).encode(), keys=None)
    assert found.reason is not None
    assert (found.kind, found.genuine, found.reason.code) == ("maa-token", False, "token-unsecured")


def test_each_refusal_has_its_code() -> None:
    good = token(MAA)
    assert reason(good) == "accepted"
    for data, code in {
        unsecured({"kid": "RS256"}, json.dumps(MAA).encode()): "token-unsecured",
        jwt.encode(MAA, "k" * 64, "HS256", {"kid": "RS256"}): "token-algorithm",
        sign({"kid": "ES256"}, b"{}", KEYS["RS256"]): "token-algorithm",
        sign({"kid": "another"}, b"{}", KEYS["RS256"]): "token-key-unknown",
        sign({}, b"{}", KEYS["RS256"]): "token-key-unknown",
        good.decode()[:-4] + "AAAA": "token-signature",
        sign({"kid": "RS256"}, b"{}", KEYS["RS256"]): "token-no-expiry",
        sign({"kid": "RS256"}, b"[]", KEYS["RS256"]): "token-claims",
    }.items():
        assert reason(data.encode()) == code
    for change, code in {
        "exp": "token-time",
        "nbf": "token-time",
        "x-ms-sgx-mrenclave": "token-claim",
        "x-ms-sgx-svn": "token-claim",
        "kloister-advisories": "token-claim",
        "kloister-tcb-date": "token-claim",
    }.items():
        assert reason(token(MAA | {change: "tomorrow"})) == code
    assert reason(token(EAR | {"submods": [1]})) == "token-claim"
    assert reason(token(EAR | {"submods": {"cpu0": 1}})) == "token-claim"
    assert reason(token(MAA | {"exp": True})) == "token-time"
    assert reason(token(MAA | {"exp": 10**400})) == "token-time"


def test_dates_and_issuer_are_judged() -> None:
    assert reason(token(MAA), issuer=ISSUER) == "accepted"
    assert reason(token(MAA), issuer="https://two.attest.example") == "token-issuer"
    assert reason(token(MAA), issuer=ISSUER + "/") == "token-issuer"
    assert reason(token({name: value for name, value in MAA.items() if name != "iss"}), issuer=ISSUER) == "token-issuer"
    end = NOW + timedelta(seconds=28800)
    assert reason(token(MAA), at=end - timedelta(seconds=1)) == "accepted"
    assert reason(token(MAA), at=end) == "token-expired"
    assert reason(token(MAA), at=NOW - timedelta(seconds=1)) == "token-not-yet-valid"
    assert reason(token(MAA | {"exp": SECONDS + 0.5})) == "accepted"


def test_keys_of_one_name_are_tried_in_turn() -> None:
    other = jwk_of(KEYS["ES256"].public_key(), "RS256")
    mine = jwk_of(KEYS["RS256"].public_key(), "RS256")
    wrong = jwk_of(rsa_key(0, 1).public_key(), "RS256")
    for keys in ([mine, wrong], [wrong, mine], [other, wrong, mine, other]):
        assert reason(token(MAA), keys=JwkSet.parse(json.dumps({"keys": keys}).encode())) == "accepted"
    assert reason(token(MAA), keys=JwkSet.parse(json.dumps({"keys": [other]}).encode())) == "token-algorithm"
    assert reason(token(MAA), keys=JwkSet.parse(json.dumps({"keys": [wrong]}).encode())) == "token-signature"


def test_keys_in_the_header_count_for_nothing() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    mine = ec.derive_private_key(99, ec.SECP256R1())
    header = {"kid": "ES256", "jwk": jwk_of(mine.public_key(), "ES256"), "jku": "https://evil.example/certs"}
    assert reason(sign(header, json.dumps(MAA).encode(), mine).encode()) == "token-signature"


@pytest.mark.parametrize(
    ("claims", "policy", "code"),
    [
        (MAA, {"sgx": {"mrenclave": "11" * 32, "isvsvn": 3}}, "accepted"),
        (MAA, {"sgx": {"mrenclave": "12" * 32}}, "measurement-not-allowed"),
        (MAA, {"sgx": {"isvsvn": 4}}, "signer-svn"),
        (MAA, {"sgx": {"configid": "00" * 64}}, "configuration-not-allowed"),  # it does not say it
        (MAA, {"tdx": {}}, "tee-not-allowed"),
        (EAR, {"snp": {}}, "tee-not-allowed"),
        (MAA | {"x-ms-sgx-is-debuggable": True}, {}, "debug-not-allowed"),
        ({name: value for name, value in MAA.items() if "debug" not in name}, {}, "debug-not-allowed"),
        (SNP, {"snp": {"minimumTcb": {"microcode": 219}, "vmpl": 0}}, "accepted"),
        (SNP, {"snp": {"minimumTcb": {"microcode": 220}}}, "snp-tcb-too-low"),
        (TDX | {"attester_tcb_status": "OutOfDate"}, {}, "tcb-not-accepted"),
        (TDX | {"attester_tcb_status": "Splendid"}, {}, "tcb-not-accepted"),
        (TDX, {"tcb": {"minimumDate": "2020-01-01"}}, "tcb-too-old"),
        (TDX | {"kloister-tcb-date": "2024-01-01"}, {"tcb": {"minimumDate": "2020-01-01"}}, "accepted"),
        (TDX, {"tcb": {"minimumEvaluationNumber": 1}}, "evaluation-number-too-low"),
        (TDX | {"kloister-tcb-evaluation-number": 1}, {"tcb": {"minimumEvaluationNumber": 1}}, "accepted"),
        (TDX, {"collateral": {"maximumAge": 30}}, "collateral-too-old"),
        (
            TDX | {"kloister-collateral": {"issued": "2026-05-01T00:00:00Z"}},
            {"collateral": {"maximumAge": 30}},
            ("collateral-too-old"),
        ),
        (TDX | {"kloister-collateral": {"issued": "2026-06-01"}}, {"collateral": {"maximumAge": 30}}, "accepted"),
        (MAA | {"kloister-simulated": True}, {}, "simulated-not-allowed"),
        (MAA | {"kloister-simulated": True}, {"simulated": "allow"}, "accepted"),
        (EAR | {"submods": {"a": {"ear.status": 2}, "b": {"ear.status": 32}}}, {}, "ear-not-affirming"),
        (EAR | {"submods": {"a": {"ear.status": 2}, "b": {}}}, {}, "ear-not-affirming"),
        (EAR | {"submods": {"a": {"ear_status": "affirming"}}}, {}, "accepted"),
        (EAR | {"submods": {"a": {"ear_status": "affirming", "ear.status": "warning"}}}, {}, "ear-not-affirming"),
        (EAR | {"submods": {"a": {"ear.status": 2, "ear.trustworthiness-vector": {"hardware": 2}}}}, {}, "accepted"),
        (
            EAR | {"submods": {"a": {"ear.status": 2, "ear.trustworthiness-vector": {"hardware": 97}}}},
            {},
            ("ear-not-affirming"),
        ),
        (EAR | {"submods": {"a": {"ear.status": 2, "kloister-simulated": True}}}, {}, "simulated-not-allowed"),
        (EAR | {"submods": {}}, {}, "ear-not-affirming"),
        (EAR | {"submods": {}, "ear.status": "affirming"}, {}, "accepted"),
        ({"exp": SECONDS + 1, "sub": "me"}, {}, "token-not-understood"),
    ],
)
def test_the_policy_judges_what_it_says(claims: dict[str, Any], policy: dict[str, Any], code: str) -> None:
    found = judged(token(claims), policy=parse_appraisal(json.dumps(policy).encode()))
    assert (found.reason.code if found.reason else "accepted") == code
    assert found.genuine
    assert judged(token(claims), policy=None).accepted


def test_what_our_own_service_claims_is_read_as_the_evidence_says_it() -> None:
    forge, snp = Forge(), SnpForge()
    sgx = forge.verify()
    domain = TdForge().verify()
    guest = snp.verify()
    for kind, ours, claims in (
        ("sgx", sgx.claims, maa.sgx_claims(sgx.report)),
        ("tdxvm", domain.claims, maa.tdx_claims(domain.report, "UpToDate")),
        ("sevsnpvm", guest.claims, maa.snp_claims(guest.report, guest.product)),
    ):
        found = read_claims({"x-ms-attestation-type": kind, **claims})
        assert len(found.claims) > 5
        assert found.claims.items() <= ours.items()
        assert "debug" in found.claims


def test_what_names_a_machine_is_hidden_in_a_tokens_claims_too() -> None:
    claims = EAR | {"x-ms-chipId": "cd" * 64, "list": [{"PPID": "ef" * 16}], "platform-instance-id": "not hexadecimal"}
    hidden = json.dumps(judged(token(claims)).as_json())
    shown = json.dumps(judged(token(claims)).as_json(show_identifiers=True))
    for raw in ("ab" * 64, "cd" * 64, "ef" * 16, "not hexadecimal"):
        assert raw in shown
        assert raw not in hidden


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("00"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("ear.status"), inner, max_size=2),
    max_leaves=5,
)  # fmt: skip
NAMES = st.sampled_from(
    sorted({*MAA, *SNP, *TDX, *EAR, "kloister-simulated", "kloister-tcb-date", "kloister-advisories"})
)


@given(st.dictionaries(NAMES, VALUES))
@settings(max_examples=200)
def test_any_claims_are_read_or_malformed(claims: dict[str, Any]) -> None:
    try:
        assert read_claims(claims).form in Form
    except Malformed:
        return


def test_the_time_of_judgement_has_a_zone() -> None:
    assert code_of(lambda: verify_token(token(MAA), SET, NOW.replace(tzinfo=None))) == "time-naive"


class Issuer:
    """An attestation service that publishes its keys, over plain HTTP on loopback."""

    def __init__(self, server: pcs.Server) -> None:
        self.server = server
        self.issuer = server.url
        self.keys = f"{server.url}/certs"
        self.documents: dict[str, PcsAnswer] = {"/certs": _json(SET.as_json())}
        self.metadata()
        server.answers = lambda path, _: self.documents.get(path, PcsAnswer(404))

    def metadata(self, **changes: Any) -> None:
        self.documents[METADATA] = _json({"issuer": self.issuer, "jwks_uri": self.keys, **changes})

    def fetch(self, data: bytes = b"") -> JwkSet:
        transport = HttpTransport(frozenset({Endpoint.of(self.issuer)}), ssl.create_default_context(), time.monotonic)
        return fetch_keys(self.issuer, data or token(MAA), transport, time.monotonic() + 60)


def _json(value: Any) -> PcsAnswer:
    return PcsAnswer(200, "application/json", json.dumps(value).encode())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with pcs.serving(lambda _path, _query: PcsAnswer(404)) as server:
        yield Issuer(server)


def test_the_keys_of_a_named_issuer_are_fetched(issuer: Issuer) -> None:
    assert issuer.fetch() == SET
    assert issuer.server.asked == [METADATA, "/certs"]
    del issuer.documents[METADATA]
    assert issuer.fetch(token(MAA, jku=issuer.keys)) == SET


def refusal(issuer: Issuer, data: bytes = b"") -> str:
    with pytest.raises(KloisterError) as caught:
        issuer.fetch(data)
    assert ".." not in caught.value.text  # one sentence in another
    return caught.value.code


def test_keys_elsewhere_are_not_fetched(issuer: Issuer) -> None:
    for place in ("https://evil.example/certs", "http://127.0.0.1:1/certs", "ftp://x", ""):
        issuer.metadata(jwks_uri=place)
        assert refusal(issuer) == "issuer-keys-elsewhere"
    del issuer.documents[METADATA]
    assert refusal(issuer, token(MAA, jku="https://evil.example/certs")) == "issuer-keys-elsewhere"
    assert refusal(issuer, token(MAA, jku=1)) == "issuer-keys-elsewhere"
    assert set(issuer.server.asked) == {METADATA}


def test_bad_answers_of_an_issuer(issuer: Issuer) -> None:
    issuer.metadata(issuer="https://two.example")
    assert refusal(issuer) == "issuer-metadata"
    issuer.metadata(jwks_uri=1)
    assert refusal(issuer) == "issuer-metadata"
    issuer.documents[METADATA] = PcsAnswer(200, "text/html", b"<html>")
    assert refusal(issuer) == "issuer-metadata-json"
    issuer.metadata()
    issuer.documents["/certs"] = PcsAnswer(404)
    assert refusal(issuer) == "issuer-unreachable"
    issuer.documents["/certs"] = PcsAnswer(200, "application/json", b"{}")
    assert refusal(issuer) == "jwks-field"
    issuer.server.fail(pcs.status(500))
    assert refusal(issuer) == "issuer-unreachable"
    issuer.server.fail(pcs.reset)
    assert refusal(issuer) == "issuer-unreachable"
    issuer.server.fail(pcs.status(302, ("Location", "https://evil.example")))
    assert refusal(issuer) == "issuer-unreachable"


@pytest.mark.parametrize("name", ["Intel Trust Authority", "http://one.attest.example", "https://x/?a=b", ""])
def test_what_is_no_address_is_no_issuer_to_ask(name: str) -> None:
    transport = HttpTransport(frozenset(), ssl.create_default_context(), time.monotonic)
    assert code_of(lambda: fetch_keys(name, token(MAA), transport, 0)) == "issuer-url"


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=50)
def test_a_changed_byte_never_verifies(place: int, change: int) -> None:
    data = bytearray(token(MAA, "ES256"))
    data[place % len(data)] ^= change
    with pytest.raises((Malformed, Unverified)):
        verify_token(bytes(data), SET, NOW)
