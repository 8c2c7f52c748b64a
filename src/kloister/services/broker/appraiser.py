from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta

from kloister.errors import Unavailable
from kloister.services.broker.ports import CollateralSource
from kloister.services.collateral import CollateralSource as PlatformCollateral
from kloister.services.collateral import Update, Wanted, require_vouched, wanted_by
from kloister.trust.evidence import VerifiedSgx
from kloister.trust.verifier import Collateral, Root, VerifierCache, verify_sgx

MAX_AGE = timedelta(minutes=5)  # a TCB recovery takes effect within this time
_PLATFORMS = 1024  # platforms whose collateral is at hand
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


class FetchingAppraiser:
    """Verifies quotes with the collateral of each one's own platform, held or fetched once for all of its enclaves.

    Args:
        source: where collateral comes from; a cache that refreshes itself.
        roots: who may vouch.
        update: the baseline to judge by.
    """

    def __init__(self, source: PlatformCollateral, roots: Sequence[Root], update: Update = Update.STANDARD) -> None:
        self._source = source
        self._roots = tuple(roots)
        self._update = update
        self._lock = threading.Lock()
        self._known: OrderedDict[Wanted, tuple[datetime, Collateral]] = OrderedDict()
        self._cache = VerifierCache()

    def __call__(self, quote: bytes, at: datetime) -> VerifiedSgx:
        """Verify a quote at a time. Raises also as `CollateralSource.collateral` of `services/collateral`."""
        wanted = wanted_by(quote, self._update)
        return verify_sgx(quote, self._current(quote, wanted, at), self._roots, at, self._cache)

    def _current(self, quote: bytes, wanted: Wanted, at: datetime) -> Collateral:
        """The collateral of a platform, asked for again after a while; the source shares one fetch among waiters."""
        with self._lock:
            known = self._known.get(wanted)
        if known is not None and at < known[0]:
            return known[1]
        require_vouched(quote, self._roots)
        provided = self._source.collateral(wanted)
        with self._lock:
            self._known[wanted] = (min(at + MAX_AGE, provided.expires - MARGIN), provided.collateral)
            self._known.move_to_end(wanted)
            while len(self._known) > _PLATFORMS:
                self._known.popitem(last=False)
        return provided.collateral
