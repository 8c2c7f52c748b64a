"""Whether evidence is of the enclave that a converted image was measured to be."""

from __future__ import annotations

import hmac
from dataclasses import replace

from kloister.services.appraisal.result import Appraisal
from kloister.trust.policy.appraisal import AppraisalRefused
from kloister.trust.policy.decision import Condition


def of_image(found: Appraisal, mrenclave: bytes, name: str) -> Appraisal:
    """The same appraisal, refused if its enclave is not the image's; what is not genuine stays as it is.

    Args:
        found: of evidence of SGX, or of a token about it.
        mrenclave: of the image, 32 bytes.
        name: of the image, for people.
    """
    if not found.genuine:
        return found
    seen = str((found.claims or {}).get("mrenclave", ""))
    if hmac.compare_digest(seen.encode(), mrenclave.hex().encode()):
        return found
    condition = Condition(
        "image-measurement",
        f"image {name}",
        mrenclave.hex(),
        seen or "nothing: this evidence is of no SGX enclave",
        "Name the image that runs there; one that was converted again is another enclave.",
    )
    conditions = (*found.conditions, condition)
    return replace(found, accepted=False, reason=found.reason or AppraisalRefused(conditions), conditions=conditions)
