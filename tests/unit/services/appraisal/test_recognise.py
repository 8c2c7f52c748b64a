from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.services.appraisal import Kind, recognise
from kloister.services.appraisal.recognise import identify
from tests.support.evidence import Forge, code_of

QUOTE = Forge().quote()


@pytest.mark.parametrize(
    "form",
    [
        QUOTE,
        QUOTE.hex().encode(),
        b"0x" + QUOTE.hex().upper().encode() + b"\n",
        base64.b64encode(QUOTE),
        base64.encodebytes(QUOTE),
        base64.urlsafe_b64encode(QUOTE).rstrip(b"="),
    ],
)
def test_a_quote_is_recognised_in_every_form(form: bytes) -> None:
    evidence = recognise(form)
    assert (evidence.kind, evidence.data) == (Kind.QUOTE, QUOTE)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "evidence-empty"),
        (b" \n", "evidence-empty"),
        (b"x" * (1 << 20) + b"x", "evidence-size"),
        (b"-----BEGIN CERTIFICATE-----\n", "ratls-certificate"),
        (b"-----BEGIN PRIVATE KEY-----\n", "evidence-not-supported"),
        (b"\x30\x82\x00\x01", "ratls-certificate"),
        (b"[]", "evidence-not-supported"),
        (b"{", "kbs-evidence-json"),
        (b"eyJhbGciOiJub25lIn0.e30.", "evidence-not-supported"),
        (b"e30." * 3, "evidence-unknown"),
        (b"https://localhost:8443", "evidence-not-supported"),
        (b'{"a": 1}', "evidence-not-supported"),
        (b"what is this?", "evidence-unknown"),
        (b"AAAAA", "evidence-unknown"),
        (b"hello world", "evidence-unknown"),
        (b"\x89PNG\r\n\x1a\n", "evidence-unknown"),
        (b"\x03\x01" + bytes(1000), "evidence-unknown"),
        (b"\x03", "evidence-unknown"),
    ],
)
def test_everything_else_is_named_for_what_it_is(data: bytes, code: str) -> None:
    assert code_of(lambda: recognise(data)) == code


def token(claims: object) -> bytes:
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims, "signature")]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


@pytest.mark.parametrize(
    ("claims", "kind"),
    [
        ({"iss": "https://sharedeus.eus.attest.azure.net"}, Kind.MAA_TOKEN),
        ({"x-ms-ver": "1.0"}, Kind.MAA_TOKEN),
        ({"ear.verifier-id": {}, "submods": {}}, Kind.EAR_TOKEN),
        ({"iss": "somebody"}, Kind.TOKEN),
        ([], Kind.TOKEN),
    ],
)
def test_tokens_are_told_apart_and_hold_no_quote(claims: object, kind: Kind) -> None:
    assert identify(token(claims))[0] == kind
    assert code_of(lambda: recognise(token(claims))) == "evidence-not-supported"


def kbs(**members: object) -> bytes:
    return json.dumps(members).encode()


TEXT = base64.b64encode(QUOTE).decode()
RUNTIME = {"nonce": "AAAA", "tee-pubkey": {"kty": "EC"}}
PRIMARY = {"primary_evidence": {"quote": TEXT}, "additional_evidence": ""}


@pytest.mark.parametrize(
    ("data", "bound"),
    [
        (kbs(quote=TEXT), False),
        (kbs(quote=base64.urlsafe_b64encode(QUOTE).decode(), cc_eventlog=None), False),
        (kbs(**{"tee-evidence": {"quote": TEXT}, "tee-pubkey": {}}), False),
        (kbs(**{"tee-evidence": PRIMARY}), False),
        (kbs(**{"tee-evidence": PRIMARY, "runtime-data": RUNTIME}), True),
    ],
)
def test_the_evidence_of_a_key_broker_is_opened(data: bytes, bound: bool) -> None:  # noqa: FBT001 -- a row of the table
    evidence = recognise(data)
    assert (evidence.kind, evidence.data) == (Kind.KBS_EVIDENCE, QUOTE)
    assert (evidence.binding is not None) == bound


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (kbs(quote=1), "evidence-not-supported"),
        (kbs(attestation_report={}), "snp-json-field"),
        (kbs(svn="1", report_data=""), "evidence-not-supported"),
        (kbs(cca_token=[]), "evidence-not-supported"),
        (kbs(tpm_quote={}, ak_public=""), "evidence-not-supported"),
        (kbs(hcl_report="", tpm_quote={}), "evidence-not-supported"),
        (kbs(quote="ä"), "kbs-evidence"),
        (kbs(quote="A"), "kbs-evidence"),
        (kbs(**{"tee-evidence": []}), "kbs-evidence"),
        (kbs(**{"tee-evidence": {"primary_evidence": 1}}), "kbs-evidence"),
        (kbs(**{"tee-evidence": PRIMARY, "runtime-data": []}), "kbs-evidence"),
        (kbs(**{"tee-evidence": PRIMARY, "runtime-data": {"nonce": 1.5}}), "kbs-evidence"),
        (kbs(**{"tee-evidence": PRIMARY | {"additional_evidence": {}}, "runtime-data": RUNTIME}), "kbs-evidence"),
        (b'{"quote": "", "quote": ""}', "kbs-evidence-json"),
    ],
)
def test_other_json_is_refused(data: bytes, code: str) -> None:
    assert code_of(lambda: recognise(data)) == code


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_recognised_or_malformed(data: bytes) -> None:
    try:
        assert len(recognise(data).data) <= len(data)
    except Malformed as error:
        assert error.code.startswith(("evidence-", "ratls-", "kbs-"))  # noqa: PT017 -- either outcome is right
