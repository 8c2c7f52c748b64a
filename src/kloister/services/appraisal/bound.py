"""What genuine evidence was delivered with: a TLS key, a session, the quote of a VM's TPM. It must speak of them."""

from __future__ import annotations

import hmac
from datetime import datetime

from kloister.errors import Misused, Unverified
from kloister.services.appraisal.kinds import Evidence
from kloister.trust.evidence import Verified, VerifiedSgx, VerifiedTdx
from kloister.trust.snp_evidence import VerifiedSnp
from kloister.trust.verifier.vtpm import verify_vtpm


def bound(evidence: Evidence, verified: Verified, at: datetime) -> dict[str, str]:
    """Return what the VM's TPM adds to the claims, if everything is bound to everything.

    Raises:
        Malformed: `tpm-quote-*`, `hcl-runtime-*`, `jwk-*`.
        Unverified: `hcl-binding`, `vtpm-*`, and as `Binding.check`.
    """
    given = _report_data(verified)
    claims: dict[str, str] = {}
    if evidence.vtpm is not None and evidence.blob is not None:
        blob = evidence.blob
        if not hmac.compare_digest(blob.binding, given[: len(blob.binding)]):
            raise Unverified(
                "hcl-binding",
                "The hardware's evidence does not bind the runtime data that the HCL blob brings.",
                "The evidence was put together from parts of others, or changed.",
            )
        vtpm = verify_vtpm(evidence.vtpm, blob.claims())
        given, claims = vtpm.nonce, vtpm.claims
    if evidence.binding is not None:
        evidence.binding.check(given, at)
    return claims


def _report_data(verified: Verified) -> bytes:
    if isinstance(verified, VerifiedSgx | VerifiedTdx | VerifiedSnp):
        return verified.report.report_data
    raise Misused("tee-unknown", "Evidence of an unknown TEE has no report data.")
