"""What evidence was made for: each part of the binding, and each border."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kloister.formats.ratls import Form, RatlsCertificate
from kloister.formats.wire import canonical_json
from kloister.trust.verifier.binding import KbsBinding, RatlsBinding
from tests.support.evidence import NOW, Forge, code_of
from tests.support.ratls import ratls, spki

FORGE = Forge()
OTHER = ec.derive_private_key(0xBAD, ec.SECP256R1())
START, END = NOW - timedelta(days=1), NOW + timedelta(days=2)
RUNTIME = {"nonce": "AAAA", "tee-pubkey": {"kty": "EC", "x": "1"}, "more": 1}
MOMENT = timedelta(microseconds=1)


def ratls_code(certificate: RatlsCertificate, report_data: bytes | None = None, at: datetime = NOW) -> str:
    expected = certificate.evidence.report_data(certificate.spki)
    bound = RatlsBinding(certificate)
    return code_of(lambda: bound.check(expected if report_data is None else report_data, at))


@pytest.mark.parametrize("form", list(Form))
def test_a_certificate_is_bound_by_all_of_the_report_data(form: Form) -> None:
    certificate = RatlsCertificate.parse(ratls(FORGE, form))
    report_data = certificate.evidence.report_data(certificate.spki)
    assert len(report_data) == 64
    assert ratls_code(certificate) == "accepted"
    for changed in (report_data[:-1], report_data[:32], bytes(64), bytes([report_data[0] ^ 1]) + report_data[1:]):
        assert ratls_code(certificate, changed) == "ratls-report-data"


def test_a_certificate_is_that_of_the_key_and_in_its_time() -> None:
    der = ratls(FORGE)
    certificate = RatlsCertificate.parse(der)
    for at, code in {
        START - MOMENT: "ratls-not-yet-valid", START: "accepted", END: "accepted", END + MOMENT: "ratls-expired",
    }.items():  # fmt: skip
        assert ratls_code(certificate, at=at) == code
    assert ratls_code(RatlsCertificate.parse(der[:-1] + bytes([der[-1] ^ 1]))) == "ratls-signature"
    assert ratls_code(RatlsCertificate.parse(ratls(FORGE, Form.DICE, claimed=spki(OTHER)))) == "ratls-key-mismatch"
    foreign = RatlsCertificate.parse(ratls(FORGE, key=OTHER))
    assert ratls_code(replace(certificate, spki=foreign.spki), bytes(64)) == "ratls-report-data"


def kbs_code(report_data: bytes, binding: KbsBinding | None = None) -> str:
    return code_of(lambda: (binding or KbsBinding.of(RUNTIME, "more evidence")).check(report_data, NOW))


def test_a_session_is_bound_by_nonce_key_and_further_evidence() -> None:
    parts = {"additional-evidence": "more evidence", "nonce": "AAAA", "tee-pubkey": RUNTIME["tee-pubkey"]}
    expected = hashlib.sha384(canonical_json(parts)).digest()
    assert KbsBinding.of(RUNTIME, "more evidence").expected == expected
    assert kbs_code(expected + bytes(16)) == "accepted"
    for other in (
        KbsBinding.of(RUNTIME | {"nonce": "AAAB"}, "more evidence"), KbsBinding.of(RUNTIME, "other evidence"),
        KbsBinding.of(RUNTIME | {"tee-pubkey": {}}, "more evidence"), KbsBinding.of({}, "more evidence"),
    ):  # fmt: skip
        assert kbs_code(expected + bytes(16), other) == "kbs-report-data"


def test_a_hash_may_be_cut_for_a_tpm_and_padded_with_zeros_only() -> None:
    expected = KbsBinding.of(RUNTIME, "more evidence").expected
    sizes = {size: kbs_code((expected + bytes(32))[:size]) for size in (0, 16, 31, 32, 33, 47, 48, 49, 63, 64, 65)}
    assert {size for size, code in sizes.items() if code == "accepted"} == {32, 48, 49, 63, 64}
    assert set(sizes.values()) == {"accepted", "kbs-report-data"}
    for wrong in (expected + b"\1" + bytes(15), expected + bytes(15) + b"\1", expected[:31] + b"x", b""):
        assert kbs_code(wrong) == "kbs-report-data"
