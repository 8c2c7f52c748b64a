"""Is it genuine? Bytes, collateral, roots and a time in; a `Verified` out, `Malformed` or `Unverified`; never a bool.

It does not fetch, read the clock, keep anything but in a cache that the caller passes, or judge whether genuine
evidence is wanted (that is `trust/policy`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kloister.trust.root import INTEL_ROOT, Root
from kloister.trust.verifier.cache import VerifierCache
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.quote import verify_quote
from kloister.trust.verifier.sgx import SgxPrecedent, prove_sgx, verify_sgx
from kloister.trust.verifier.tdx import verify_tdx

if TYPE_CHECKING:  # what is AMD's is loaded when it is asked for: it doubles the time of an import
    from kloister.trust.amd_root import AMD_ROOTS, AmdRoot
    from kloister.trust.verifier.endorsement import SnpEndorsement
    from kloister.trust.verifier.snp import verify_hcl, verify_snp

__all__ = [
    "AMD_ROOTS",
    "INTEL_ROOT",
    "AmdRoot",
    "Collateral",
    "Root",
    "SgxPrecedent",
    "SnpEndorsement",
    "VerifierCache",
    "prove_sgx",
    "verify_hcl",
    "verify_quote",
    "verify_sgx",
    "verify_snp",
    "verify_tdx",
]

_OF_AMD = {
    "AMD_ROOTS": "kloister.trust.amd_root",
    "AmdRoot": "kloister.trust.amd_root",
    "SnpEndorsement": "kloister.trust.verifier.endorsement",
    "verify_hcl": "kloister.trust.verifier.snp",
    "verify_snp": "kloister.trust.verifier.snp",
}


def __getattr__(name: str) -> object:
    if name not in _OF_AMD:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_OF_AMD[name]), name)
