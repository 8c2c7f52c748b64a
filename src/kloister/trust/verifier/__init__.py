"""Is it genuine? Bytes, collateral, roots and a time in; a `Verified` out, `Malformed` or `Unverified`; never a bool.

It does not fetch, read the clock, keep anything but in a cache that the caller passes, or judge whether genuine
evidence is wanted (that is `trust/policy`).
"""

from kloister.trust.root import INTEL_ROOT, Root
from kloister.trust.verifier.cache import VerifierCache
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.quote import verify_quote
from kloister.trust.verifier.sgx import verify_sgx
from kloister.trust.verifier.tdx import verify_tdx

__all__ = ["INTEL_ROOT", "Collateral", "Root", "VerifierCache", "verify_quote", "verify_sgx", "verify_tdx"]
