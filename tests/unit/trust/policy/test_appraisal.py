from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.dcap import TcbStatus
from kloister.formats.sgx import Attributes
from kloister.simulator.documents import TcbStage
from kloister.trust.policy.appraisal import AppraisalPolicy, check_appraisal
from tests.support.evidence import ENCLAVE, Forge, code_of

FORGE = Forge()
GENUINE = FORGE.verify()
DEBUG = replace(FORGE, enclave=replace(ENCLAVE, attributes=Attributes(0x07, 0xE7))).verify()
OLD = FORGE.verify(FORGE.documents(TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00001",))))


def policy(**document: Any) -> AppraisalPolicy:
    return AppraisalPolicy.parse(json.dumps({"simulated": "allow"} | document).encode())


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "accepted"),
        ({"simulated": "deny"}, "simulated-not-allowed"),
        ({"tcb": {"accept": []}}, "tcb-not-accepted"),
        ({"tcb": {"accept": ["OutOfDate"]}}, "tcb-not-accepted"),
        ({"sgx": {"mrenclave": "11" * 32, "mrsigner": "22" * 32, "isvprodid": 7, "isvsvn": 3}}, "accepted"),
        ({"sgx": {"mrenclave": "12" * 32}}, "measurement-not-allowed"),
        ({"sgx": {"mrsigner": "12" * 32}}, "signer-not-allowed"),
        ({"sgx": {"isvprodid": 8}}, "signer-product"),
        ({"sgx": {"isvsvn": 2}}, "accepted"),
        ({"sgx": {"isvsvn": 4}}, "signer-svn"),
    ],
)
def test_each_wish_is_kept(document: dict[str, Any], code: str) -> None:
    assert code_of(lambda: check_appraisal(GENUINE, policy(**document))) == code


def test_debug_enclaves_and_old_platforms_must_be_asked_for() -> None:
    assert code_of(lambda: check_appraisal(DEBUG, policy())) == "debug-not-allowed"
    assert code_of(lambda: check_appraisal(DEBUG, policy(sgx={"debug": True}))) == "accepted"
    assert code_of(lambda: check_appraisal(OLD, policy())) == "tcb-not-accepted"
    assert code_of(lambda: check_appraisal(OLD, policy(tcb={"accept": ["UpToDate", "OutOfDate"]}))) == "accepted"


def test_the_defaults_are_the_strict_ones() -> None:
    assert AppraisalPolicy.parse(b"{}") == AppraisalPolicy()
    assert code_of(lambda: check_appraisal(GENUINE, AppraisalPolicy())) == "simulated-not-allowed"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "appraisal-policy-json"),
        (b"[]", "appraisal-policy-field"),
        (b'{"tcb": {}, "tcb": {}}', "appraisal-policy-json"),
        (b" " * 70_000, "appraisal-policy-size"),
        (b'{"sgx": {"mrencalve": "00"}}', "appraisal-policy-field"),
        (b'{"unknown": 1}', "appraisal-policy-field"),
        (b'{"tcb": []}', "appraisal-policy-field"),
        (b'{"tcb": {"accept": ["Revoked"]}}', "appraisal-policy-field"),
        (b'{"tcb": {"accept": "UpToDate"}}', "appraisal-policy-field"),
        (b'{"tcb": {"accept": [1]}}', "appraisal-policy-field"),
        (b'{"sgx": {"debug": 1}}', "appraisal-policy-field"),
        (b'{"simulated": true}', "appraisal-policy-field"),
        (b'{"simulated": ["allow"]}', "appraisal-policy-field"),
        (b'{"sgx": {"mrenclave": "00"}}', "appraisal-policy-field"),
        (b'{"sgx": {"mrenclave": 0}}', "appraisal-policy-field"),
        (b'{"sgx": {"isvsvn": -1}}', "appraisal-policy-field"),
        (b'{"sgx": {"isvsvn": true}}', "appraisal-policy-field"),
        (b'{"sgx": {"isvprodid": null}}', "appraisal-policy-field"),
    ],
)
def test_unfit_policies_are_malformed(document: bytes, code: str) -> None:
    assert code_of(lambda: AppraisalPolicy.parse(document)) == code


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["accept", "debug", "isvsvn"]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["tcb", "sgx", "simulated", "x"]), values))
def test_any_document_is_read_or_malformed(document: dict[str, Any]) -> None:
    try:
        read = AppraisalPolicy.parse(json.dumps(document).encode())
    except Malformed as error:
        assert error.code.startswith("appraisal-policy-")  # noqa: PT017 -- either outcome is right
        return
    assert set(document) <= {"tcb", "sgx", "simulated"}
    assert TcbStatus.REVOKED not in read.accept
