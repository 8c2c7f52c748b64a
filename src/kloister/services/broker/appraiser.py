from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kloister.errors import Unavailable, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.services.broker.ports import CollateralSource
from kloister.services.collateral import CollateralSource as PlatformCollateral
from kloister.services.collateral import Update, Wanted, require_vouched, wanted_by
from kloister.trust.evidence import VerifiedSgx
from kloister.trust.verifier import Collateral, Root, VerifierCache, verify_sgx

MAX_AGE = timedelta(minutes=5)  # a TCB recovery takes effect within this time
DOUBT = timedelta(seconds=10)  # older collateral is asked for again before a platform is called anything but UpToDate
_PLATFORMS = 1024  # platforms whose collateral is at hand
MARGIN = timedelta(hours=1)  # before its end, collateral is fetched anew at once


@dataclass(frozen=True, slots=True)
class _Known:
    """Collateral of a platform, and until when it is not asked for again."""

    fetched: datetime
    until: datetime
    collateral: Collateral


def _doubting(verify: Callable[[], VerifiedSgx], renew: Callable[[], bool]) -> VerifiedSgx:
    """Good news holds as long as it is remembered; anything else is judged again by what `renew` could fetch."""
    try:
        verified = verify()
    except Unverified:
        if not renew():
            raise
    else:
        if verified.tcb_status is TcbStatus.UP_TO_DATE or not renew():
            return verified
    return verify()


class CachingAppraiser:
    """Verifies quotes with collateral that is fetched ahead of its end, and kept in use while its source is away."""

    def __init__(self, source: CollateralSource) -> None:
        self._source = source
        self._lock = threading.Lock()  # of what is known; never held while the source is asked
        self._asking = threading.Lock()
        self._collateral: Collateral | None = None
        self._roots: Sequence[Root] = ()
        self._renew: datetime | None = None
        self._fetched: datetime | None = None
        self._cache = VerifierCache()

    def __call__(self, quote: bytes, at: datetime) -> VerifiedSgx:
        """Verify a quote at a time; the verifier itself refuses collateral that has ended."""
        verified = _doubting(lambda: verify_sgx(quote, *self._current(at), at, self._cache), lambda: self._anew(at))
        with self._lock:
            if self._renew is not None:
                self._renew = min(self._renew, verified.collateral_expires - MARGIN)
        return verified

    def _current(self, at: datetime) -> tuple[Collateral, Sequence[Root]]:
        if self._due(at):
            with self._asking:
                if self._due(at):
                    self._fetch(at)
        with self._lock:
            if self._collateral is None:
                raise Unavailable("collateral-unavailable", "No collateral has been fetched yet.")
            return self._collateral, self._roots

    def _due(self, at: datetime) -> bool:
        with self._lock:
            return self._collateral is None or self._renew is None or at >= self._renew

    def _anew(self, at: datetime) -> bool:
        """Ask the source, once for all who doubt: meanwhile the others judge by what is known."""
        with self._lock:
            if self._fetched is None or at - self._fetched < DOUBT:
                return False
            self._fetched = at
        with self._asking:
            self._fetch(at)
        return True

    def _fetch(self, at: datetime) -> None:
        with self._lock:
            self._fetched = at
        try:
            found = self._source.collateral(), self._source.roots()
        except Unavailable as error:
            found = None
            if self._collateral is None:
                raise Unavailable(
                    "collateral-unavailable",
                    f"The collateral that vouches for platforms cannot be fetched: {error.text}",
                    error.hint,
                ) from None
        with self._lock:
            if found is not None:
                self._collateral, self._roots = found
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
        self._known: OrderedDict[Wanted, _Known] = OrderedDict()
        self._cache = VerifierCache()

    def __call__(self, quote: bytes, at: datetime) -> VerifiedSgx:
        """Verify a quote at a time. Raises also as `CollateralSource.collateral` of `services/collateral`."""
        wanted = wanted_by(quote, self._update)
        return _doubting(
            lambda: verify_sgx(quote, self._current(quote, wanted, at), self._roots, at, self._cache),
            lambda: self._anew(quote, wanted, at),
        )

    def _anew(self, quote: bytes, wanted: Wanted, at: datetime) -> bool:
        """Ask the source, if what is known is not of just now; how old its documents may be the source decides.

        What is known stays until there is better: a bad quote must not take their collateral from good ones.
        """
        with self._lock:
            known = self._known.get(wanted)
            if known is None or at - known.fetched < DOUBT:
                return False
            self._known[wanted] = replace(known, fetched=at)
        try:
            self._ask(quote, wanted, at)
        except Unavailable:
            return False
        return True

    def _current(self, quote: bytes, wanted: Wanted, at: datetime) -> Collateral:
        """The collateral of a platform, asked for again after a while; the source shares one fetch among waiters."""
        with self._lock:
            known = self._known.get(wanted)
        if known is not None and at < known.until:
            return known.collateral
        return self._ask(quote, wanted, at)

    def _ask(self, quote: bytes, wanted: Wanted, at: datetime) -> Collateral:
        require_vouched(quote, self._roots)
        provided = self._source.collateral(wanted)
        with self._lock:
            until = min(at + MAX_AGE, provided.expires - MARGIN)
            self._known[wanted] = _Known(at, until, provided.collateral)
            self._known.move_to_end(wanted)
            while len(self._known) > _PLATFORMS:
                self._known.popitem(last=False)
        return provided.collateral
