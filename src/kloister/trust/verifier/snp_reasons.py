"""The reason codes of the verification of SNP reports, by its steps; step 1 is in `formats/reasons.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kloister.errors import BUG, Reason

_FETCH = "Fetch it again from AMD's KDS, for the chip id and REPORTED_TCB of this report."
_CHAIN = "Fetch the chain of this product line and kind of key (vcek or vlek) from AMD's KDS."
_CRL = "Fetch the list of this product line from AMD's KDS."
_LATE = "Get it again, or judge at a time inside its validity (--at)."
_CLOCK = "Check the clock, or the time given (--at)."
_REVOKED = "Nothing that it vouches for can be trusted."

REASONS: Mapping[str, Reason] = MappingProxyType({
    # step 2: the chain
    "vek-single": Reason("Several certificates stand where that of the VCEK or VLEK belongs.", "Give one."),
    "vek-role": Reason("Another certificate stands where that of the VCEK or VLEK belongs.", _FETCH),
    "vek-issuer": Reason("The chain does not hold the certificate that issued the VCEK or VLEK.", _CHAIN),
    "vek-signature": Reason("The signature of the VCEK or VLEK certificate does not verify.", _FETCH),
    "vek-usage": Reason("The VCEK or VLEK certificate is that of an issuer.", _FETCH),
    "vek-expired": Reason("The VCEK or VLEK certificate was out of date.", _LATE),
    "vek-not-yet-valid": Reason("The VCEK or VLEK certificate is not valid yet.", _CLOCK),
    "ask-role": Reason("Another certificate stands where the ASK or ASVK belongs.", _CHAIN),
    "ask-signature": Reason("The signature of the ASK or ASVK certificate does not verify.", _CHAIN),
    "ask-usage": Reason("The ASK or ASVK certificate may not be used to sign certificates.", _CHAIN),
    "ask-expired": Reason("The ASK or ASVK certificate was out of date.", _LATE),
    "ask-not-yet-valid": Reason("The ASK or ASVK certificate is not valid yet.", _CLOCK),
    "ark-issuer": Reason("The ARK certificate was issued by another than itself.", _CHAIN),
    "ark-signature": Reason("The signature of the ARK certificate does not verify.", _CHAIN),
    "ark-usage": Reason("The ARK certificate may not be used to sign certificates.", _CHAIN),
    "ark-expired": Reason("The ARK certificate was out of date.", _LATE),
    "ark-not-yet-valid": Reason("The ARK certificate is not valid yet.", _CLOCK),
    "root-key": Reason("The key of an AMD root is no RSA key.", BUG),
    # step 3: revocation
    "ark-crl-issuer": Reason("The revocation list was issued by another than the ARK.", _CRL),
    "ark-crl-signature": Reason("The signature of the ARK's revocation list does not verify.", _CRL),
    "ark-crl-expired": Reason("The ARK's revocation list was out of date.", _CRL),
    "ark-crl-not-yet-valid": Reason("The ARK's revocation list is not valid yet.", _CLOCK),
    "ask-revoked": Reason("The ASK or ASVK certificate is revoked.", _REVOKED),
    # steps 4 to 8: the report belongs to the key
    "snp-product-unknown": Reason("The processor is of no product line that is known.", "Use a newer Kloister."),
    "snp-product": Reason("Report, VEK certificate and ARK are of different product lines.", _CHAIN),
    "snp-report-unsigned": Reason("The report says that no key signed it.", "The host masks the chip key."),
    "snp-signing-key": Reason("The report was signed by another kind of key than the certificate's.", _FETCH),
    "vek-tcb": Reason("The VCEK or VLEK certificate is for another TCB than REPORTED_TCB.", _FETCH),
    "vek-hwid": Reason("The VCEK certificate is for another chip than CHIP_ID.", _FETCH),
    "snp-report-signature": Reason(
        "The key of the VCEK or VLEK certificate did not sign this report.",
        "Nothing allows this: the evidence is damaged, forged or put together from parts of others.",
    ),
    "hcl-binding": Reason(
        "The SNP report does not bind the runtime data of the HCL blob.",
        "Read the blob again; otherwise it was put together from parts of others.",
    ),
})  # fmt: skip
