"""Steps 6 and 7 of the verification: the quoting enclave that made the quote."""

from __future__ import annotations

import hashlib
import hmac

from kloister.errors import Unverified
from kloister.formats.dcap import Authentication, QeIdentity, QeLevel
from kloister.formats.pki import Certificate, check_signature, p256_key, raw_signature
from kloister.formats.sgx import ReportBody
from kloister.trust.verifier.cache import ProvenQe

_REPORT_DATA = slice(320, 352)  # the first half of REPORTDATA in a report's body
_IDENTITY_HINT = "The quote was not made by the quoting enclave that the collateral describes."


def verify_qe_report(authentication: Authentication, pck: Certificate) -> ProvenQe:
    """Step 6: the PCK signed the QE's report, and the report binds the attestation key.

    Raises:
        Unverified: `qe-report-signature`, `qe-report-data`.
        Malformed: `attestation-key-point`.
    """
    signature = raw_signature(authentication.qe_report_signature)
    check_signature(pck.public_key, signature, authentication.qe_report, "qe-report-signature", "the QE report")
    ReportBody.check(authentication.qe_report)
    report_data = authentication.qe_report[_REPORT_DATA]
    bound = hashlib.sha256(authentication.attestation_key + authentication.qe_auth_data).digest()
    # The specification wants the second half zero; QVL, which verdicts follow, looks at the first half only.
    if not hmac.compare_digest(bound, report_data):
        raise Unverified("qe-report-data", "The QE report binds another attestation key or authentication data.")
    return ProvenQe(authentication.qe_report, p256_key(authentication.attestation_key, "attestation-key"))


def match_qe(report: ReportBody, identity: QeIdentity, identity_id: str) -> QeLevel:
    """Step 7: the QE is the one that the identity describes; the highest level that it reaches.

    Raises:
        Unverified: `qe-identity-id`, `qe-miscselect`, `qe-attributes`, `qe-mrsigner`, `qe-isvprodid`,
            `qe-svn-unsupported`.
    """
    if identity.id != identity_id:
        raise Unverified(
            "qe-identity-id",
            f"The QE identity is for {identity.id!r}; this quote needs one for {identity_id!r}.",
            "SGX and TDX have quoting enclaves, and collateral, of their own.",
        )
    attributes = bytes(a & m for a, m in zip(report.attributes.build(), identity.attributes_mask, strict=True))
    checks = {
        "qe-miscselect": report.miscselect & identity.miscselect_mask == identity.miscselect,
        "qe-attributes": attributes == identity.attributes,
        "qe-mrsigner": report.mrsigner == identity.mrsigner,
        "qe-isvprodid": report.isvprodid == identity.isvprodid,
    }
    for code, holds in checks.items():
        if not holds:
            field = code.removeprefix("qe-").upper()
            raise Unverified(code, f"The quoting enclave's {field} is not the one in the QE identity.", _IDENTITY_HINT)
    for level in identity.levels:  # descending
        if report.isvsvn >= level.isvsvn:
            return level
    lowest = f"; the lowest asks for {identity.levels[-1].isvsvn}" if identity.levels else ""
    raise Unverified(
        "qe-svn-unsupported",
        f"No level of the QE identity is reached by ISVSVN {report.isvsvn}{lowest}.",
        "Update the quoting enclave (Intel's DCAP packages, or the provider's).",
    )
