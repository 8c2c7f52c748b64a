"""Every SGX set of the shared evidence vectors gives its verdict, its advisories, or its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kloister.trust.evidence import TcbRevoked
from tests.support.evidence import Case, case, code_of, index
from tests.support.paths import vectors

# What each rejected set is refused with. TDX sets are refused as not supported until the verifier knows TDX.
CODES = {
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


def _is_tdx(one: Case) -> bool:
    return one.quote[4:8] == b"\x81\0\0\0" and one.name.split("/")[-1] not in CODES


def test_genuine_sgx_sets_have_their_status_and_advisories() -> None:
    judged = []
    for one in _cases():
        if one.entry["verdict"] in ("reject", "Revoked") or _is_tdx(one):
            continue
        verified = one.verify()
        assert verified.tcb_status == one.entry["verdict"], one.name
        if _RECORDED in one.entry:
            assert list(verified.advisories) == one.entry["advisories"], one.name
            assert verified.fmspc == one.entry["fmspc"], one.name
            assert verified.claims["debug"] == one.entry["debug"], one.name
        judged.append(one.name)
    assert len(judged) == 48  # 31 auto, 2 teepot, 15 own-pki (14 of version 3, one of version 4)


def test_a_revoked_level_is_not_genuine_and_says_its_status() -> None:
    (one,) = [each for each in _cases() if each.entry["verdict"] == "Revoked" and not _is_tdx(each)]
    with pytest.raises(TcbRevoked) as refusal:
        one.verify()
    assert refusal.value.code == "tcb-revoked"
    assert refusal.value.tcb.status == "Revoked"
    assert list(refusal.value.tcb.advisories) == one.entry["advisories"]


def test_rejected_sgx_sets_have_their_reason() -> None:
    rejected = [one for one in _cases() if one.entry["verdict"] == "reject" and not _is_tdx(one)]
    assert {one.name.removeprefix("ownpki/"): code_of(one.verify) for one in rejected} == CODES


def test_tdx_sets_are_refused_as_not_supported() -> None:
    codes = {code_of(one.verify) for one in _cases() if _is_tdx(one)}
    assert codes == {"tee-not-supported"}


# dcap-qvl differs where it is known to: reference/dcap.md, section 5.
_OTHERS = {
    "neg-tcbinfo-pceid": "it does not compare pceId",
    "neg-tcbinfo-signed-by-pck": "it does not check the signer's role",
    "sgx-v3-tcbinfo-v2-flat": "it knows TCB info 3 only",
    "sgx-v3-certtype1-ppid": "it takes the certificates from elsewhere",
    "sgx-v3-certtype3-encppid": "it takes the certificates from elsewhere",
    "sgx-v4-body": "it knows SGX in version 3 only",
    "sgx-v3-qeauth-1000": "it refuses long QE authentication data",
    "neg-v4-outer-type5": "it does not look at the outer certification type",
}


def test_dcap_qvl_agrees() -> None:
    other: Any = pytest.importorskip("dcap_qvl")
    differing = {}
    compared = 0
    for one in _cases():
        version_2 = '"version":2' in one.document["tcb_info"][:40]
        if _is_tdx(one) or one.entry.get("debug") or (version_2 and one.entry["kind"] == "intel"):
            continue  # it refuses debug enclaves in verification, and TCB info of version 2
        compared += 1
        theirs = _verdict_of_dcap_qvl(other, one)
        if theirs != one.entry["verdict"]:
            differing[one.name.removeprefix("ownpki/")] = theirs
    assert compared > 60
    assert set(differing) <= set(_OTHERS), differing


def _verdict_of_dcap_qvl(other: Any, one: Case) -> str:
    document = {key: value for key, value in one.document.items() if key != "pck_certificate_chain"}
    root = _own_root(one)
    try:
        collateral = other.QuoteCollateralV3.from_json(json.dumps(document))
        now = int(one.at.timestamp())
        report = (
            other.verify(one.quote, collateral, now)
            if root is None
            else other.verify_with_root_ca(one.quote, collateral, root, now)
        )
    except ValueError as error:
        return "Revoked" if "revoked" in str(error).lower() and "tcb" in str(error).lower() else "reject"
    return str(report.status)


def _own_root(one: Case) -> bytes | None:
    path = vectors("evidence", one.name, "root.der")
    return path.read_bytes() if path.exists() else None
