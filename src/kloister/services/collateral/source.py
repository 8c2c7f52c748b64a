"""Collateral out of a cache that fills and refreshes itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kloister.errors import KloisterError, Misused, Unavailable
from kloister.formats.dcap import envelope
from kloister.formats.dcap.envelope import Envelope
from kloister.services.collateral.admission import IntelAdmission, pck_chain, window_of
from kloister.services.collateral.fetcher import Fetcher
from kloister.services.collateral.flight import Flights, wait
from kloister.services.collateral.holding import Admit, Holding
from kloister.services.collateral.model import Held, Item, Key, Kind, Wanted, Window, anchor_of
from kloister.services.collateral.ports import Clock, Provided
from kloister.services.collateral.store import Store
from kloister.services.collateral.wanted import no_pck, of_platform
from kloister.trust.root import Root
from kloister.trust.verifier import Collateral

_MOMENT = 0.05  # seconds between looks at whether another process is done
_MAX_HELD = 4096  # documents in memory; four per platform family, one per AMD chip


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

    def now(self) -> datetime:
        """The present."""
        return self._clock.now()

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
            return lambda: present(held, key)
        if held is not None and self._fresh(held, for_ever=for_ever):
            return lambda: held
        future = self._flights.start(key, lambda: self._fetch(fetcher, key, admit, deadline, for_ever=for_ever))
        usable = self._usable(held, now - held.item.fetched if held else timedelta.max)
        if usable is not None and self._freshness.background:
            return lambda: usable
        return lambda: self._finish(future, usable, deadline)

    def held(self, key: Key, admit: Admit, at: datetime) -> Held | None:
        """What is held under a key and admitted at `at`, however old."""
        with self._lock:
            held = self._memory.get(key)
        return self._admitted(held.item if held else self._store.load(key) if self._store else None, admit, at)

    @staticmethod
    def _admitted(item: Item | None, admit: Admit, at: datetime) -> Held | None:
        with contextlib.suppress(KloisterError):
            return Held(item, admit(item, at)) if item is not None else None
        return None

    def knows(self, key: Key) -> bool:
        """Whether anything is kept under a key, genuine or not."""
        with self._lock:
            kept = key in self._memory
        return kept or (self._store is not None and self._store.load(key) is not None)

    def put(self, held: Held, admit: Admit) -> Held:
        """Keep an admitted item, unless a newer one is held; what is held then."""
        before = self.held(held.item.key, admit, self._clock.now())
        if before is not None and before.window.issued > held.window.issued:
            return before  # genuine, but replayed: an older document does not replace a newer one
        if self._store is not None:
            self._store.save(held.item)
        return self._remember(held)

    def items(self) -> list[Item]:
        """All that is kept, unverified, sorted by what it is."""
        if self._store is not None:
            return self._store.items()
        with self._lock:
            return sorted((held.item for held in self._memory.values()), key=lambda item: item.key.label)

    def _usable(self, held: Held | None, age: timedelta) -> Held | None:
        hard = self._freshness.hard
        return held if hard is None or age < hard else None

    def _fetch(self, fetcher: Fetcher, key: Key, admit: Admit, deadline: float, *, for_ever: bool) -> Held:
        """Fetch it, unless another thread did so since this one looked, or a process while it waited for its turn."""
        with self._turn(key, deadline):
            held = self._admitted(self._kept(key), admit, self._clock.now())
            if held is not None and self._fresh(held, for_ever=for_ever):
                return self._remember(held)
            return self.put(self._ask(fetcher, key, admit, deadline), admit)

    def _turn(self, key: Key, deadline: float) -> AbstractContextManager[object]:
        if self._store is None:
            return contextlib.nullcontext()
        return self._store.turn(key, lambda: self._late(deadline))

    def _kept(self, key: Key) -> Item | None:
        """What the last of all who fetched it got."""
        if self._store is not None:
            return self._store.load(key)
        with self._lock:
            held = self._memory.get(key)
        return held.item if held else None

    def _ask(self, fetcher: Fetcher, key: Key, admit: Admit, deadline: float) -> Held:
        return fetcher.fetch(key, lambda item: admit(item, self._clock.now()), deadline)

    def _fresh(self, held: Held, *, for_ever: bool) -> bool:
        return for_ever or timedelta(0) <= self._clock.now() - held.item.fetched < self._freshness.fresh

    def _remember(self, held: Held) -> Held:
        with self._lock:
            self._memory.pop(held.item.key, None)
            self._memory[held.item.key] = held
            while len(self._memory) > _MAX_HELD:
                self._memory.pop(next(iter(self._memory)))
        return held

    def _late(self, deadline: float) -> bool:
        """Wait a moment for another process; whether there is no more time to wait."""
        self._clock.sleep(_MOMENT)
        return self._clock.monotonic() >= deadline

    def _finish(self, future: Future[Held], usable: Held | None, deadline: float) -> Held:
        try:
            return wait(future, deadline - self._clock.monotonic())
        except KloisterError as error:
            if usable is None:
                raise _unreachable(error, self._fetcher) from None
            return replace(usable, stale=error)


def present(held: Held | None, key: Key) -> Held:
    """What is held under a key. Raises `Unavailable`: `collateral-not-held`."""
    if held is not None:
        return held
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


class CachedSource(Holding):
    """Intel's collateral: the port `CollateralSource`, over a cache. May be shared by threads.

    Args:
        cache: where documents are held, and how they are fetched.
        roots: who may vouch for them.
    """

    kinds = (Kind.ROOT_CRL, Kind.PCK_CRL, Kind.TCB_INFO, Kind.QE_IDENTITY, Kind.PCK)

    def __init__(self, cache: Cache, roots: Sequence[Root]) -> None:
        if not roots:
            raise Misused("roots-missing", "Without a root nothing can be admitted.")
        super().__init__(cache, anchor_of(root.fingerprint for root in roots))
        self._roots = tuple(roots)

    def collateral(self, wanted: Wanted) -> Provided:
        """See `CollateralSource.collateral`."""
        if wanted.pck is not None:
            return self._of_pck(wanted, wanted.pck)
        deadline = self._cache.deadline()
        first, *others = (key.under(self._anchor) for key in wanted.keys())  # noqa: SIM118 -- it is no mapping
        root_crl = self._cache.get(first, IntelAdmission(self._roots).admit, deadline)
        admit = self._admission(root_crl.item).admit
        started = [self._cache.begin(key, admit, deadline) for key in others]
        return assembled([root_crl, *(finish() for finish in started)], wanted.pck_chain)

    def _of_pck(self, wanted: Wanted, named: Key) -> Provided:
        """The same for a quote that only names its platform's certificate, which is had first."""
        deadline, root_key = self._cache.deadline(), Key.of(Kind.ROOT_CRL).under(self._anchor)
        root_crl = self._cache.get(root_key, IntelAdmission(self._roots).admit, deadline)
        try:
            held = self._cache.get(named.under(self._anchor), self._admission(root_crl.item).admit, deadline)
        except Unavailable as error:
            if error.code not in ("collateral-not-held", "collateral-unknown"):
                raise
            raise no_pck("The quote carries no PCK certificate, and the one that it names cannot be had") from None
        chain = pck_chain(held.item)
        text = "".join(one.pem() for one in chain)
        provided = self.collateral(replace(of_platform(wanted, chain[0]), pck=None, pck_chain=text))
        return replace(provided, items=(*provided.items, held))

    def admission(self, item: Item) -> Admit:
        """See `Holding.admission`."""
        if item.key.kind is Kind.ROOT_CRL:
            return IntelAdmission(self._roots).admit
        first = Key.of(Kind.ROOT_CRL).under(self._anchor)
        root_crl = self._cache.held(first, IntelAdmission(self._roots).admit, self._cache.now())
        return self._admission(present(root_crl, first).item).admit

    def window(self, item: Item) -> Window:
        """See `Holding.window`."""
        return window_of(item)

    def _admission(self, root_crl: Item) -> IntelAdmission:
        listed = IntelAdmission(self._roots).root_crl(root_crl, self._cache.now())
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
