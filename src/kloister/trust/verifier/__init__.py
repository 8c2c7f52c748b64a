"""Is it genuine? Bytes, collateral, roots and a time in; a `Verified` out, `Malformed` or `Unverified`; never a bool.

It does not fetch, read the clock, cache, or judge whether genuine evidence is wanted (that is `trust/policy`).
"""

from kloister.trust.root import INTEL_ROOT, Root
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.sgx import verify_sgx

__all__ = ["INTEL_ROOT", "Collateral", "Root", "verify_sgx"]
