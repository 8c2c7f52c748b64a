from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from kloister.errors import Unavailable
from kloister.services.broker.ports import CollateralSource
from kloister.trust.evidence import VerifiedSgx
from kloister.trust.verifier import Collateral, Root, VerifierCache, verify_sgx

MAX_AGE = timedelta(minutes=5)  # a TCB recovery takes effect within this time
MARGIN = timedelta(hours=1)  # before its end, collateral is fetched anew at once


class CachingAppraiser:
    """Verifies quotes with collateral that is fetched ahead of its end, and kept in use while its source is away."""

    def __init__(self, source: CollateralSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._collateral: Collateral | None = None
        self._roots: Sequence[Root] = ()
        self._renew: datetime | None = None
        self._cache = VerifierCache()

    def __call__(self, quote: bytes, at: datetime) -> VerifiedSgx:
        """Verify a quote at a time; the verifier itself refuses collateral that has ended."""
        collateral, roots = self._current(at)
        verified = verify_sgx(quote, collateral, roots, at, self._cache)
        with self._lock:
            if self._renew is not None:
                self._renew = min(self._renew, verified.collateral_expires - MARGIN)
        return verified

    def _current(self, at: datetime) -> tuple[Collateral, Sequence[Root]]:
        with self._lock:
            if self._collateral is None or self._renew is None or at >= self._renew:
                self._fetch(at)
            if self._collateral is None:
                raise Unavailable("collateral-unavailable", "No collateral has been fetched yet.")
            return self._collateral, self._roots

    def _fetch(self, at: datetime) -> None:
        try:
            self._collateral, self._roots = self._source.collateral(), self._source.roots()
        except Unavailable as error:
            if self._collateral is None:
                raise Unavailable(
                    "collateral-unavailable",
                    f"The collateral that vouches for platforms cannot be fetched: {error.text}",
                    error.hint,
                ) from None
        self._renew = at + MAX_AGE
