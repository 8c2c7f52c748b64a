from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kloister.formats.tokens.policy import policy_token
from kloister.formats.wire import b64url
from kloister.serve.attestation import AttestationProcess
from tests.support.attestation import BEARER, PERMIT, ask, client_data, open_enclave, sgx_quote, tdx_quote

PARTS = ["attest", "policies", "certificates", "certificates:add", "certs", "v1", "nonce", "audit", "SgxEnclave", "Tpm",
         "OpenEnclave", "SevSnpVm", "TdxVm", "AzureGuest", "SgxEnclave:reset", "..", "", "\0", "é", ":"]  # fmt: skip
PATHS = st.lists(st.sampled_from(PARTS), max_size=3).map(lambda parts: "/" + "/".join(parts))
QUERIES = st.sampled_from(["api-version=2020-10-01", "", "api-version=", "a=1&api-version=2022-08-01", "after=1", "%"])
EVIDENCE = [sgx_quote(b"{}"), open_enclave(sgx_quote(b"{}")), tdx_quote(b"{}"), b"{}", b""]
VALUES = st.none() | st.integers() | st.text(max_size=8) | st.booleans() | st.lists(st.integers(), max_size=2)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "quote": st.sampled_from(EVIDENCE).map(b64url) | VALUES,
    "report": st.sampled_from(EVIDENCE).map(b64url) | VALUES,
    "runtimeData": st.sampled_from([client_data(b"{}"), client_data(b"{}", "JSON"), client_data(b"x")]) | VALUES,
    "initTimeData": st.just({"dataType": "JSON"}) | VALUES,
    "nonce": VALUES,
    "draftPolicyForAttestation": st.just(PERMIT) | VALUES,
    "data": st.just(b64url(b'{"payload":{"type":"aikcert"}}')) | VALUES,
}
BODIES = (
    st.fixed_dictionaries({}, optional=MEMBERS).map(lambda body: json.dumps(body).encode())
    | st.sampled_from([policy_token(PERMIT).encode(), b'"eyJhbGciOiJub25lIn0.."', b"eyJhbGciOiJub25lIn0.."])
    | st.binary(max_size=64)
)


@settings(max_examples=150)
@given(st.sampled_from(["GET", "PUT", "POST", "DELETE"]), PATHS, QUERIES, BODIES, st.sampled_from([BEARER, "x", None]))
def test_no_request_is_a_fault_of_ours(
    process: AttestationProcess, method: str, path: str, query: str, body: bytes, bearer: str | None
) -> None:
    answer = ask(process, method, f"{path}?{query}", body, bearer=bearer)
    assert answer.status < 500
    assert answer.headers["x-ms-request-id"]
    if answer.status != 200:
        assert answer.code
        assert answer.reason
