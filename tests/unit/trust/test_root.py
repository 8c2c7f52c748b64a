from __future__ import annotations

from dataclasses import replace

from kloister.formats.pki import parse_chain
from kloister.simulator.pki import Wanted, derive_key, issue
from kloister.trust.root import INTEL_ROOT, Root
from tests.support.evidence import SEED, Forge, case, code_of, index

PKI = Forge().pki


def test_intels_root_is_at_the_end_of_intels_chains() -> None:
    entry = next(each for each in index() if each["kind"] == "intel")
    signer, root = parse_chain(case(entry).document["tcb_info_issuer_chain"].encode(), "chain")
    assert INTEL_ROOT.matches(root)
    assert not INTEL_ROOT.matches(signer)
    assert Root.from_der(root.der) == INTEL_ROOT
    assert not INTEL_ROOT.simulated


def test_a_root_is_subject_and_key_whatever_else_its_certificate_says() -> None:
    certificate = PKI.root.certificate
    renewed = issue(None, PKI.root.key, Wanted(common_name=certificate.common_name, serial=9, path_length=1))
    assert renewed.certificate.der != certificate.der
    assert Root.from_der(renewed.certificate.der) == Root.from_der(certificate.der)
    other_key = issue(
        None, derive_key(SEED, "other"), Wanted(common_name=certificate.common_name, serial=9, path_length=1)
    )
    assert not Root.from_der(certificate.der).matches(other_key.certificate)
    other_name = issue(None, PKI.root.key, Wanted(common_name="Another SGX Root CA", serial=9, path_length=1))
    assert not Root.from_der(certificate.der).matches(other_name.certificate)


def test_the_simulators_root_says_so() -> None:
    assert Root.from_der(PKI.root_der()).simulated


def test_what_is_not_a_self_signed_ca_is_no_root() -> None:
    assert code_of(lambda: Root.from_der(PKI.root_der())) == "accepted"
    assert code_of(lambda: Root.from_der(PKI.ca.certificate.der)) == "root-certificate"
    leaf = issue(None, PKI.root.key, Wanted(common_name="Nobody", serial=9))
    assert code_of(lambda: Root.from_der(leaf.certificate.der)) == "root-certificate"
    renamed = issue(replace(PKI.ca, key=PKI.root.key), PKI.root.key, Wanted(common_name="X", serial=9, path_length=1))
    assert code_of(lambda: Root.from_der(renamed.certificate.der)) == "root-certificate"
    assert code_of(lambda: Root.from_der(b"no certificate")) == "certificate-syntax"


def test_fingerprints_tell_roots_apart() -> None:
    assert len(INTEL_ROOT.fingerprint) == 64
    assert INTEL_ROOT.fingerprint != Root.from_der(PKI.root_der()).fingerprint
