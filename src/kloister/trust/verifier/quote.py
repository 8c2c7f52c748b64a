from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kloister.formats.dcap import BodyType
from kloister.trust.evidence import VerifiedSgx, VerifiedTdx
from kloister.trust.root import Root
from kloister.trust.verifier.cache import VerifierCache
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.dcap import Request
from kloister.trust.verifier.sgx import judge_sgx
from kloister.trust.verifier.tdx import judge_tdx


def verify_quote(
    quote: bytes, collateral: Collateral, roots: Sequence[Root], at: datetime, cache: VerifierCache | None = None
) -> VerifiedSgx | VerifiedTdx:
    """The evidence in a quote of either of Intel's TEEs; arguments and errors are those of `verify_sgx`."""
    request = Request.of(quote, collateral, roots, at, cache)
    return judge_sgx(request) if request.quote.body_type is BodyType.SGX else judge_tdx(request)
