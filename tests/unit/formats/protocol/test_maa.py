from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Unverified
from kloister.formats.protocol.maa import AttestRequest, ClientData, DataType, SnpEvidence, decode
from kloister.formats.wire import b64url

NAMES = ["quote", "runtimeData", "initTimeData", "nonce", "draftPolicyForAttestation", "data", "dataType"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)


def _outcome(action: Callable[[], object]) -> str:
    """The code of a malformed input; any other failure is the test's."""
    try:
        action()
    except Malformed as error:
        return error.code
    return ""


@given(st.binary(max_size=64), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]), st.booleans())
def test_every_encoding_gives_the_same_bytes(data: bytes, encode: Any, bare: bool) -> None:  # noqa: FBT001  drawn
    text = encode(data).decode()
    assert decode(text.rstrip("=") if bare else text, "quote") == data


@given(st.text(max_size=32))
def test_other_texts_are_malformed_at_most(text: str) -> None:
    assert _outcome(lambda: decode(text, "quote")) in ("", "attest-request-field")


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5))
def test_any_document_is_read_or_malformed(document: dict[str, Any]) -> None:
    code = _outcome(lambda: AttestRequest.parse(json.dumps(document).encode(), "quote"))
    assert code in ("", "attest-request-field", "attest-request-json")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    for parse in (lambda: AttestRequest.parse(data, "quote"), lambda: SnpEvidence.parse(data)):
        with pytest.raises(Malformed):
            parse()


@given(
    st.binary(min_size=1, max_size=32),
    st.none() | st.binary(max_size=32),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=16) | st.integers(0, 2**64 - 1),
)
def test_what_was_sent_is_read(evidence: bytes, data: bytes | None, nonce: str | int | None) -> None:
    document: dict[str, Any] = {"report": b64url(evidence), "nonce": nonce}
    if data is not None:
        document["runtimeData"] = {"data": b64url(data), "dataType": "bInArY"}
    read = AttestRequest.parse(json.dumps(document).encode(), "report")
    assert (read.evidence, read.nonce) == (evidence, nonce)
    assert read.runtime == (None if data is None else ClientData(DataType.BINARY, data))


def test_binding_looks_at_32_bytes() -> None:
    data = ClientData(DataType.BINARY, b"data")
    digest = hashlib.sha256(b"data").digest()
    data.check_bound(digest + b"whatever".ljust(32), "data")
    for bad in (digest[:31], bytes(64), digest[:31] + b"\0"):
        with pytest.raises(Unverified) as caught:
            data.check_bound(bad, "data")
        assert caught.value.code == "client-data-binding"


def test_evidence_of_snp() -> None:
    parts = {"SnpReport": b64url(b"report"), "VcekCertChain": b64url(b"chain"), "Endorsements": "e30"}
    read = SnpEvidence.parse(json.dumps(parts).encode())
    assert (read.report, read.certificates) == (b"report", b"chain")
    for name in ("SnpReport", "VcekCertChain"):
        with pytest.raises(Malformed):
            SnpEvidence.parse(json.dumps({**parts, name: 1}).encode())
