"""Every set of quotes of the shared evidence vectors gives its verdict, its advisories, or its reason."""

from __future__ import annotations

import pytest

from kloister.trust.evidence import TcbRevoked
from tests.conformance import agreement
from tests.support.evidence import Case, case, code_of, index

# What each rejected set is refused with.
CODES = {
    "auto/tdx-v4-50806f000000-3507b5f7-e17-t3": "tcb-unsupported",
    "auto/tdx-v4-90c06f000000-1d0342e3-e18-t3": "pck-not-yet-valid",
    "auto/tdx-v4-90c06f000000-2f5870c4-e18-t3": "tcb-unsupported",
    "auto/tdx-v4-b0c06f000000-32f07013-e18-t3": "tcb-unsupported",
    "auto/tdx-v5-90c06f000000-4c453ea4-e18-t3": "tcb-unsupported",
    "auto/tdx-v5-90c06f000000-586c2be0-e18-t3": "tcb-unsupported",
    "phala-tdx-quote-outdated": "tcb-unsupported",
    "neg-qeid-sgx-for-tdx": "qe-identity-id",
    "neg-tcbinfo-sgx-for-tdx": "tcb-info-tee",
    "tdx-v4-module-identity-missing": "tdx-module-unknown",
    "tdx-v5-15-svn2-unsupported": "tcb-unsupported",
    "neg-authlen-huge": "quote-truncated",
    "neg-certlen-huge": "quote-authentication-truncated",
    "neg-chain-garbage-pem": "certificate-syntax",
    "neg-flip-attest-key": "qe-report-data",
    "neg-flip-body-reportdata": "quote-signature",
    "neg-flip-header-userdata": "quote-signature",
    "neg-flip-qe-auth": "qe-report-data",
    "neg-flip-qe-report-sig": "qe-report-signature",
    "neg-flip-quote-sig": "quote-signature",
    "neg-leaf-self-issued": "pck-signature",
    "neg-no-sgx-extension": "pck-extension-missing",
    "neg-one-second-after-nextupdate": "root-crl-expired",
    "neg-pck-crl-other-ca": "pck-crl-issuer",
    "neg-pck-issued-by-pck": "pck-ca-role",
    "neg-pck-revoked": "pck-revoked",
    "neg-qe-misc": "qe-miscselect",
    "neg-qe-prodid": "qe-isvprodid",
    "neg-qe-report-by-evil-pck": "qe-report-signature",
    "neg-qeauthlen-huge": "quote-authentication-truncated",
    "neg-qeid-td-for-sgx": "qe-identity-id",
    "neg-root-crl-expired": "root-crl-expired",
    "neg-tcb-signer-as-pck": "pck-role",
    "neg-tcbinfo-fmspc": "tcb-info-fmspc",
    "neg-tcbinfo-future": "tcb-info-not-yet-valid",
    "neg-tcbinfo-pceid": "tcb-info-pceid",
    "neg-tcbinfo-reserialised": "tcb-info-signature",
    "neg-tcbinfo-signed-by-pck": "tcb-info-signer-role",
    "neg-tcbinfo-wrong-signer": "tcb-info-signature",
    "neg-truncated-0": "quote-truncated",
    "neg-truncated-1000": "quote-truncated",
    "neg-truncated-431": "quote-truncated",
    "neg-truncated-435": "quote-truncated",
    "neg-truncated-4538": "quote-truncated",
    "neg-v4-outer-type5": "certification-type",
    "neg-v5-sgx-body-tdx-tee": "quote-body-type",
    "neg-vendor": "quote-vendor",
    "neg-version-6": "quote-version",
    "sgx-v3-qe-svn-unsupported": "qe-svn-unsupported",
    "sgx-v3-unsupported-pcesvn": "tcb-unsupported",
}
# The index lists no advisories for sets without a version field; teepot's tests, their source, do not look at them.
_RECORDED = "ver"


def _cases() -> list[Case]:
    return [case(entry) for entry in index()]


def test_genuine_sets_have_their_status_and_advisories() -> None:
    judged = []
    for one in _cases():
        if one.entry["verdict"] in ("reject", "Revoked"):
            continue
        verified = one.verify()
        assert verified.tcb_status == one.entry["verdict"], one.name
        if _RECORDED in one.entry:
            assert list(verified.advisories) == one.entry["advisories"], one.name
            assert verified.fmspc == one.entry["fmspc"], one.name
            assert verified.claims["debug"] == one.entry["debug"], one.name
        judged.append(one.name)
    assert len(judged) == 79  # 48 auto, 3 from teepot, 28 own-pki


def test_a_revoked_level_is_not_genuine_and_says_its_status() -> None:
    (one,) = [each for each in _cases() if each.entry["verdict"] == "Revoked"]
    with pytest.raises(TcbRevoked) as refusal:
        one.verify()
    assert refusal.value.code == "tcb-revoked"
    assert refusal.value.tcb.status == "Revoked"
    assert list(refusal.value.tcb.advisories) == one.entry["advisories"]


def test_rejected_sets_have_their_reason() -> None:
    rejected = [one for one in _cases() if one.entry["verdict"] == "reject"]
    assert {one.name.removeprefix("ownpki/"): code_of(one.verify) for one in rejected} == CODES


def test_dcap_qvl_agrees_or_the_difference_is_explained() -> None:
    other = pytest.importorskip("dcap_qvl")
    found = agreement.rows(other)
    assert [row.name for row in found if row.ours != row.expected] == []
    assert [row.name for row in found if not row.same_advisories] == []
    assert [row.name for row in found if row.explanation is None] == []
    assert agreement.PAGE.read_text() == agreement.page(found, agreement.installed_version())
