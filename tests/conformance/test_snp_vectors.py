"""Every SNP set of the shared evidence vectors gives its verdict, or its reason."""

from __future__ import annotations

from dataclasses import replace

from kloister.trust.amd_root import AMD_ROOTS
from tests.support.evidence import code_of
from tests.support.snp import snp_case, snp_cases

# What the sets of each mutation are refused with. "no-ark" is accepted: the pinned ARK completes the chain.
CODES = {
    "algo-2": {"snp-report-algorithm"},
    "flip-measurement": {"snp-report-signature"},
    "flip-report-data": {"snp-report-signature"},
    "flip-sig": {"snp-report-signature"},
    "no-ark": {"accepted"},
    "sig-s-zero": {"snp-report-signature"},
    "truncated": {"snp-report-truncated"},
    "version-99": {"snp-report-version"},
    "wrong-vek": {"snp-product", "snp-signing-key", "vek-tcb"},  # whatever differs first in the other set's VEK
    None: {"accepted"},
}


def test_every_set_has_its_verdict_and_reason() -> None:
    cases = snp_cases()
    codes: dict[str | None, set[str]] = {}
    for case in cases:
        code = code_of(case.verify)
        assert (code == "accepted") == (case.verdict == "accept"), (case.name, code)
        codes.setdefault(case.mutation, set()).add(code)
    assert len(cases) == 60
    assert codes == CODES


def test_a_genuine_report_says_what_was_captured() -> None:
    verified = snp_case("v3-SEV-VLEK-Milan-decdab94").verify()
    assert verified.tee == "snp"
    assert verified.product == "Milan"
    assert verified.root.name == "ARK-Milan"
    assert not verified.simulated
    wanted = {
        "signing_key": "vlek",
        "csp_id": "CN=cc-us-east-2.amazonaws.com",
        "vmpl": 1,
        "debug": False,
        "reported_tcb_microcode": 0xD9,
        "committed_tcb_microcode": 0xDB,
        "current_tcb_microcode": 0xDC,
        "chip_id": "00" * 64,
    }
    claims = dict(verified.claims)
    assert str(claims["report_data"]).startswith("819770b7e6ea6df8dd8fd4dd146b073c")
    assert {name: claims[name] for name in wanted} == wanted


def test_a_debug_guest_is_genuine() -> None:
    assert snp_case("v2-SEV-Milan-377e6241").verify().claims["debug"] is True


def test_amds_roots_are_those_of_the_chains() -> None:
    for name, product in (("v2-SEV-Milan-377e6241", "Milan"), ("v5-SEV-Turin-85da705e", "Turin")):
        case = snp_case(name)
        (root,) = [one for one in AMD_ROOTS if one.product == product]
        assert case.verify().root == root
        assert code_of(lambda: replace(case, chain=case.vek).verify()) == "vek-issuer"  # noqa: B023 -- called at once
