from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from kloister.errors import Malformed, Unverified
from kloister.formats.dcap import Authentication, Quote
from kloister.formats.pki import sign_raw
from kloister.trust.verifier.qe import verify_qe_report
from tests.support.evidence import QE, Forge

FORGE = Forge()
PCK = FORGE.pki.pck.certificate


def bound_to(key: bytes) -> Authentication:
    """What a quoting enclave with that attestation key would show."""
    genuine = Quote.parse(FORGE.quote()).authentication
    binding = hashlib.sha256(key + genuine.qe_auth_data).digest() + bytes(32)
    report = replace(QE, report_data=binding).build()
    signature = sign_raw(FORGE.pki.pck.key, report)
    return replace(genuine, attestation_key=key, qe_report=report, qe_report_signature=signature)


def test_an_attestation_key_that_is_no_point_is_malformed_even_if_it_was_certified() -> None:
    good = Quote.parse(FORGE.quote()).authentication.attestation_key
    verify_qe_report(bound_to(good), PCK)
    for key in (bytes(64), good[:32] + bytes(32), b"\xff" * 64):
        with pytest.raises(Malformed) as refused:
            verify_qe_report(bound_to(key), PCK)
        assert refused.value.code == "attestation-key-point"


def test_reserved_bytes_of_the_report_are_zero_even_if_they_were_certified() -> None:
    """They are looked at here: a cache that knows the enclave's identity parses its report no more."""
    genuine = Quote.parse(FORGE.quote()).authentication
    verify_qe_report(genuine, PCK)
    for at in (21, 31, 96, 127, 160, 191, 262, 303):
        report = genuine.qe_report[:at] + b"\1" + genuine.qe_report[at + 1 :]
        changed = replace(genuine, qe_report=report, qe_report_signature=sign_raw(FORGE.pki.pck.key, report))
        with pytest.raises(Malformed) as refused:
            verify_qe_report(changed, PCK)
        assert refused.value.code.endswith("-reserved")


def test_an_enclave_below_all_levels_is_to_be_updated() -> None:
    with pytest.raises(Unverified) as refused:
        replace(FORGE, qe=replace(QE, isvsvn=QE.isvsvn - 1)).verify(FORGE.documents())
    assert refused.value.code == "qe-svn-unsupported"
    assert refused.value.text.endswith(f"is reached by ISVSVN {QE.isvsvn - 1}; the lowest asks for {QE.isvsvn}.")
    assert refused.value.hint.startswith("Update the quoting enclave")
