from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kloister.errors import Misconfigured
from kloister.formats.tokens import Jws
from kloister.formats.tokens.ear import Ear, EarAppraisal, Profile, Tier
from kloister.formats.wire import b64url
from kloister.serve.attestation import AttestationProcess
from tests.support.attestation import (
    AAD,
    BEARER,
    STRICT,
    Answer,
    ask,
    client_data,
    open_enclave,
    running,
    settings,
    sgx_quote,
    tdx_quote,
)
from tests.support.evidence import ENCLAVE, NOW

DATA = b"what the client says"
OTHER = "ab" * 32  # a measurement that nothing has


def appraise(process: AttestationProcess, bearer: str | None = None, base: str = AAD, **members: Any) -> Answer:
    body = {"attestationType": "SgxEnclave", "runtimeData": client_data(DATA), **members}
    return ask(process, "POST", "/v1/appraise", body, base=base, bearer=bearer)


def result(answer: Answer) -> tuple[Ear, EarAppraisal]:
    ear = Ear.parse_claims(Jws.parse(answer.json["ear"]).claims)
    (part,) = ear.parts.values()
    assert str(part.status) == answer.json["status"]
    return ear, part


@pytest.fixture(scope="module")
def choosy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttestationProcess]:
    """A service whose operator names one enclave, and not that of the tests."""
    directory = tmp_path_factory.mktemp("choosy")
    (directory / "policy.yaml").write_text(f'sgx:\n  mrenclave: "{OTHER}"\n')
    appraisal = {"policy": "policy.yaml", "extra_roots": ["root.der"], "dangerous_at": int(NOW.timestamp())}
    with running(settings(directory, appraisal=appraisal)) as made:
        yield made


def test_a_result_says_what_it_found_aspect_by_aspect(process: AttestationProcess) -> None:
    ear, part = result(appraise(process, quote=b64url(sgx_quote(DATA)), nonce="a nonce of mine"))
    assert (ear.profile, ear.nonce, list(ear.parts)) == (Profile.VERAISON, "a nonce of mine", ["sgx"])
    assert part.status is Tier.WARNING  # a simulated platform is never affirmed
    assert part.vector.hardware == 32
    assert part.more["x-ms-sgx-mrenclave"] == ENCLAVE.mrenclave.hex()
    assert part.more["kloister-simulated"] is True
    assert ear.expires is not None
    assert ear.expires - ear.issued == 8 * 3600


@pytest.mark.parametrize("kind", ["OpenEnclave", "TdxVm"])
def test_other_kinds(process: AttestationProcess, kind: str) -> None:
    members = {"quote": b64url(tdx_quote(DATA))} if kind == "TdxVm" else {
        "report": b64url(open_enclave(sgx_quote(DATA)))
    }  # fmt: skip
    answer = appraise(process, attestationType=kind, profile=str(Profile.IETF), **members)
    ear, part = result(answer)
    assert (ear.profile, list(ear.parts)) == (Profile.IETF, ["tdx" if kind == "TdxVm" else "sgx"])
    assert part.status is Tier.WARNING


def test_evidence_that_is_not_genuine_has_a_result_that_repeats_nothing_of_it(process: AttestationProcess) -> None:
    quote = sgx_quote(DATA)
    for wrong, status in (
        (quote[:200] + bytes([quote[200] ^ 1]) + quote[201:], Tier.CONTRAINDICATED),
        (b"x", Tier.NONE),
    ):
        _, part = result(appraise(process, quote=b64url(wrong)))
        assert (part.status, dict(part.more)) == (status, {})
    _, part = result(appraise(process, quote=b64url(quote), runtimeData=client_data(b"other")))
    assert part.status is Tier.CONTRAINDICATED


def test_only_the_owner_is_told_what_was_wanted(choosy: AttestationProcess) -> None:
    quote = b64url(sgx_quote(DATA))
    for bearer in (None, "somebody's"):
        answer = appraise(choosy, bearer, quote=quote)
        assert set(answer.json) == {"ear", "status"}
        _, part = result(answer)
        assert (part.status, part.vector.executables) == (Tier.CONTRAINDICATED, 96)
        assert OTHER not in json.dumps(Jws.parse(answer.json["ear"]).claims)
    answer = appraise(choosy, BEARER, quote=quote)
    (reason,) = answer.json["reasons"]
    assert (reason["code"], reason["expected"]) == ("measurement-not-allowed", OTHER)
    assert answer.json["explanation"]["matched"]
    answer = appraise(choosy, BEARER, quote=quote, runtimeData=client_data(b"other"))
    assert [each["code"] for each in answer.json["reasons"]] == ["client-data-binding"]


def test_a_nonce_of_the_service_that_nothing_binds_is_not_repeated(process: AttestationProcess) -> None:
    nonce = ask(process, "POST", "/v1/nonce").json["nonce"]
    for quote in (sgx_quote(DATA), b"no quote"):
        ear, _ = result(appraise(process, quote=b64url(quote), nonce=nonce))
        assert ear.nonce is None
    ear, _ = result(appraise(process, quote=b64url(sgx_quote(DATA)), nonce=nonce[::-1]))
    assert ear.nonce == nonce[::-1]


def test_a_nonce_of_the_service_is_bound_and_named(process: AttestationProcess) -> None:
    nonce = ask(process, "POST", "/v1/nonce").json["nonce"]
    data = json.dumps({"kloister-nonce": nonce}).encode()
    ear, _ = result(appraise(process, quote=b64url(sgx_quote(data)), runtimeData=client_data(data, "JSON")))
    assert ear.nonce == nonce
    forged = json.dumps({"kloister-nonce": nonce[:-1] + ("A" if nonce[-1] != "A" else "B")}).encode()
    _, part = result(appraise(process, quote=b64url(sgx_quote(forged)), runtimeData=client_data(forged, "JSON")))
    assert part.status is Tier.CONTRAINDICATED


def test_a_key_of_real_platforms_signs_nothing_about_simulated_ones(process: AttestationProcess) -> None:
    answer = appraise(process, base=STRICT, quote=b64url(sgx_quote(DATA)))
    assert (answer.status, answer.reason) == (400, "simulated-not-allowed")


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"attestationType": "Tpm"}, "attestation-type"),
        ({"attestationType": 1}, "attestation-type"),
        ({"profile": "mine"}, "attest-request-field"),
        ({"quote": ""}, "attest-request-field"),
    ],
)
def test_requests_that_cannot_be_read(process: AttestationProcess, members: dict[str, Any], code: str) -> None:
    answer = appraise(process, **{"quote": b64url(sgx_quote(DATA)), **members})
    assert (answer.status, answer.reason) == (400, code)


def test_a_policy_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text('{"sgx": 1}')
    given = settings(tmp_path, appraisal={"policy": "policy.json"})
    with pytest.raises(Misconfigured) as caught, running(given):
        pass
    assert caught.value.code == "attestation-setting"
