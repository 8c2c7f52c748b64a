"""Collateral out of a cache that fills and refreshes itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NoReturn

from kloister.errors import KloisterError, Misused, Unavailable, Unverified
from kloister.formats.dcap import envelope
from kloister.formats.dcap.envelope import Envelope
from kloister.services.collateral.admission import IntelAdmission, window_of
from kloister.services.collateral.fetcher import Fetcher
from kloister.services.collateral.flight import Flights, wait
from kloister.services.collateral.model import Held, Item, Key, Kind, Wanted, Window, anchor_of
from kloister.services.collateral.ports import Clock, Provided
from kloister.services.collateral.store import Store
from kloister.trust.root import Root
from kloister.trust.verifier import Collateral

INTEL_KINDS = (Kind.ROOT_CRL, Kind.PCK_CRL, Kind.TCB_INFO, Kind.QE_IDENTITY)
_MAX_HELD = 4096  # documents in memory; four per platform family, one per AMD chip

Admit = Callable[[Item, datetime], Window]


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old a document may become, beside its own validity.

    Attributes:
        fresh: younger ones are used without asking anybody.
        hard: older ones are not used, even if they are still valid and no source is reached; None: no such limit.
        patience: seconds that one call may take at most.
        background: use what is held at once and refresh it meanwhile; for services. Otherwise the refresh is waited
            for, and what is held is used where it fails.
    """

    fresh: timedelta = timedelta(hours=1)
    hard: timedelta | None = timedelta(days=7)
    patience: float = 20.0
    background: bool = False


class Cache:
    """Documents in memory and in a directory; each is verified when it is loaded, and again by age when it is used.

    Args:
        fetcher: None: nothing is fetched.
        store: None: nothing is kept beyond this object.
        clock: time.
        freshness: how old things may become.
    """

    def __init__(self, fetcher: Fetcher | None, store: Store | None, clock: Clock, freshness: Freshness) -> None:
        self._fetcher = fetcher
        self._store = store
        self._clock = clock
        self._freshness = freshness
        self._flights: Flights[Held] = Flights()
        self._lock = threading.Lock()
        self._memory: dict[Key, Held] = {}

    def deadline(self) -> float:
        """When a call that begins now must be over."""
        return self._clock.monotonic() + self._freshness.patience

    def get(self, key: Key, admit: Admit, deadline: float, *, for_ever: bool = False) -> Held:
        """A document that `admit` admits now. Raises as `CollateralSource.collateral`."""
        return self.begin(key, admit, deadline, for_ever=for_ever)()

    def begin(self, key: Key, admit: Admit, deadline: float, *, for_ever: bool = False) -> Callable[[], Held]:
        """Start what `get` does, and finish it in the returned function, so that several can be fetched at once."""
        now = self._clock.now()
        held = self.held(key, admit, now)
        fetcher = self._fetcher
        if fetcher is None:
            return lambda: _present(held, key)
        age = now - held.item.fetched if held else timedelta.max
        if held is not None and (for_ever or timedelta(0) <= age < self._freshness.fresh):
            return lambda: held
        future = self._flights.start(key, lambda: self._fetch(fetcher, key, admit, deadline))
        usable = self._usable(held, age)
        if usable is not None and self._freshness.background:
            return lambda: usable
        return lambda: self._finish(future, usable, deadline)

    def held(self, key: Key, admit: Admit, at: datetime) -> Held | None:
        """What is held under a key and admitted at `at`, however old."""
        with self._lock:
            held = self._memory.get(key)
        item = held.item if held else self._store.load(key) if self._store else None
        if item is None:
            return None
        try:
            return Held(item, admit(item, at))
        except KloisterError:
            return None

    def put(self, held: Held, admit: Admit) -> Held:
        """Keep an admitted item, unless a newer one is held; what is held then."""
        before = self.held(held.item.key, admit, self._clock.now())
        if before is not None and before.window.issued > held.window.issued:
            return before  # genuine, but replayed: an older document does not replace a newer one
        with self._lock:
            self._memory.pop(held.item.key, None)
            self._memory[held.item.key] = held
            while len(self._memory) > _MAX_HELD:
                self._memory.pop(next(iter(self._memory)))
        if self._store is not None:
            self._store.save(held.item)
        return held

    def items(self) -> list[Item]:
        """All that is kept, unverified, sorted by what it is."""
        if self._store is not None:
            return self._store.items()
        with self._lock:
            return sorted((held.item for held in self._memory.values()), key=lambda item: item.key.label)

    def _usable(self, held: Held | None, age: timedelta) -> Held | None:
        hard = self._freshness.hard
        return held if hard is None or age < hard else None

    def _fetch(self, fetcher: Fetcher, key: Key, admit: Admit, deadline: float) -> Held:
        held = fetcher.fetch(key, lambda item: admit(item, self._clock.now()), deadline)
        return self.put(held, admit)

    def _finish(self, future: Future[Held], usable: Held | None, deadline: float) -> Held:
        try:
            return wait(future, deadline - self._clock.monotonic())
        except KloisterError as error:
            if usable is None:
                raise _unreachable(error, self._fetcher) from None
            return replace(usable, stale=error)


def _present(held: Held | None, key: Key) -> Held:
    if held is None:
        _not_held(key)
    return held


def _not_held(key: Key) -> NoReturn:
    raise Unavailable(
        "collateral-not-held",
        f"The cache holds no valid collateral of this kind ({key.label}), and nothing may be fetched.",
        "Fetch it where there is a network: `kloister collateral export`, then `kloister collateral import` here.",
    )


def _unreachable(error: KloisterError, fetcher: Fetcher | None) -> KloisterError:
    """A call's own time-out names the sources as every other failure does."""
    if error.code != "source-timeout" or fetcher is None:
        return error
    names = ", ".join(source.name for source in fetcher.sources)
    return Unavailable(
        "collateral-unreachable",
        f"No source answered in time. Tried {names}.",
        "Check the network, name a source that is reached by --source, or give --collateral FILE.",
    )


class CachedSource:
    """Intel's collateral: the port `CollateralSource`, over a cache. May be shared by threads.

    Args:
        cache: where documents are held, and how they are fetched.
        roots: who may vouch for them.
        clock: time.
    """

    def __init__(self, cache: Cache, roots: Sequence[Root], clock: Clock) -> None:
        if not roots:
            raise Misused("roots-missing", "Without a root nothing can be admitted.")
        self._cache = cache
        self._roots = tuple(roots)
        self._anchor = anchor_of(root.fingerprint for root in roots)
        self._clock = clock

    def collateral(self, wanted: Wanted) -> Provided:
        """See `CollateralSource.collateral`."""
        deadline = self._cache.deadline()
        first, *others = (key.under(self._anchor) for key in wanted.keys())  # noqa: SIM118 -- it is no mapping
        root_crl = self._cache.get(first, IntelAdmission(self._roots).admit, deadline)
        admit = self._admission(root_crl.item).admit
        started = [self._cache.begin(key, admit, deadline) for key in others]
        return assembled([root_crl, *(finish() for finish in started)], wanted.pck_chain)

    def held(self) -> list[Held]:
        """All that is held under these roots and valid now, sorted by what it is."""
        return [held for item in self._cache.items() if (held := self._admitted(item)) is not None]

    def windows(self) -> list[Held]:
        """All that is held under these roots, expired or not, with the windows that it claims; unverified."""
        found = []
        for item in self._cache.items():
            if item.key == item.key.under(self._anchor):
                with contextlib.suppress(KloisterError):
                    found.append(Held(item, window_of(item)))
        return found

    def take(self, items: Sequence[Item]) -> tuple[list[Held], list[tuple[Item, KloisterError]]]:
        """Admit items that others fetched, a pack's: what is held of them now, and what was refused and why."""
        taken: list[Held] = []
        refused: list[tuple[Item, KloisterError]] = []
        for item in sorted(items, key=lambda one: one.key.kind is not Kind.ROOT_CRL):  # the root's list first
            moved = replace(item, key=item.key.under(self._anchor))
            try:
                admit = self._admit_for(moved)
                taken.append(self._cache.put(Held(moved, admit(moved, self._clock.now())), admit))
            except KloisterError as error:
                refused.append((item, error))
        return taken, refused

    def _admitted(self, item: Item) -> Held | None:
        if item.key != item.key.under(self._anchor):
            return None
        try:
            return Held(item, self._admit_for(item)(item, self._clock.now()))
        except KloisterError:
            return None

    def _admit_for(self, item: Item) -> Admit:
        if item.key.kind is Kind.ROOT_CRL:
            return IntelAdmission(self._roots).admit
        if item.key.kind not in INTEL_KINDS:
            raise Unverified("collateral-other", f"This is none of Intel's documents ({item.key.label}).")
        first = Key.of(Kind.ROOT_CRL).under(self._anchor)
        root_crl = self._cache.held(first, IntelAdmission(self._roots).admit, self._clock.now())
        if root_crl is None:
            _not_held(first)
        return self._admission(root_crl.item).admit

    def _admission(self, root_crl: Item) -> IntelAdmission:
        listed = IntelAdmission(self._roots).root_crl(root_crl, self._clock.now())
        return IntelAdmission(self._roots, listed.revoked)


def assembled(items: Sequence[Held], pck_chain: str | None = None) -> Provided:
    """One `Collateral` from its four documents. Raises `Malformed`: `envelope-*`."""
    by_kind = {held.item.key.kind: held.item for held in items}
    info = Envelope.parse(by_kind[Kind.TCB_INFO].body, envelope.TCB_INFO)
    identity = Envelope.parse(by_kind[Kind.QE_IDENTITY].body, envelope.ENCLAVE_IDENTITY)
    collateral = Collateral(
        tcb_info=info.text,
        tcb_info_signature=info.signature,
        tcb_info_issuer_chain=by_kind[Kind.TCB_INFO].chain,
        qe_identity=identity.text,
        qe_identity_signature=identity.signature,
        qe_identity_issuer_chain=by_kind[Kind.QE_IDENTITY].chain,
        pck_crl=by_kind[Kind.PCK_CRL].body.hex(),
        pck_crl_issuer_chain=by_kind[Kind.PCK_CRL].chain,
        root_ca_crl=by_kind[Kind.ROOT_CRL].body.hex(),
        pck_certificate_chain=pck_chain,
    )
    return Provided(collateral, tuple(items))
