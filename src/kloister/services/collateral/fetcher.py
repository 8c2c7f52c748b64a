"""Asks the sources in their order until one answers with something that is admitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kloister.errors import KloisterError, Malformed, Unavailable, Unverified
from kloister.services.collateral.backoff import Backoff
from kloister.services.collateral.dialects import Source
from kloister.services.collateral.model import Held, Item, Key, Window
from kloister.services.collateral.ports import Clock
from kloister.services.collateral.transport import Answer, Request, Transport

ROUNDS = 3  # times that a source is asked for one document before it is given up
_DEFINITE = ("source-unknown", "source-retired")
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)
_OK, _NOT_FOUND, _GONE, _TOO_MANY, _BUSY = 200, 404, 410, 429, 503

Admit = Callable[[Item], Window]


class Busy(Unavailable):
    """The source asks to be left alone (429, or 503 with Retry-After).

    Args:
        text: who.
        retry_after: seconds, or None where it does not say.
    """

    def __init__(self, text: str, retry_after: float | None) -> None:
        super().__init__("source-busy", text, "Ask less often, or put a PCCS of your own before it.")
        self.retry_after = retry_after


class Fetcher:
    """Fetches one document at a time. May be shared by threads.

    Args:
        sources: in the order in which they are asked.
        transport: how.
        backoff: who is to be left alone for a while.
        clock: time.
    """

    def __init__(self, sources: Sequence[Source], transport: Transport, backoff: Backoff, clock: Clock) -> None:
        self.sources = tuple(sources)
        self._transport = transport
        self._backoff = backoff
        self._clock = clock

    def fetch(self, key: Key, admit: Admit, deadline: float) -> Held:
        """The document from the first source that has a good one, before `deadline` (of the monotonic clock).

        A source that fails in passing (time-out, reset, 429, 5xx) is asked again, up to three times while there is
        time; one that answers with something that is not admitted is not.

        Raises:
            Unavailable: `collateral-unreachable`, `collateral-unknown`, `collateral-retired`.
            Unverified: `collateral-refused`.
        """
        requests = {source: request for source in self.sources if (request := source.request(key)) is not None}
        failures: dict[Source, KloisterError] = {}
        waiting = list(requests)
        for _ in range(ROUNDS):
            for source in self._ready(waiting, deadline, failures):
                try:
                    return self._ask(source, requests[source], key, admit, deadline)
                except KloisterError as error:
                    failures[source] = error
                    if not _passing(error):
                        waiting.remove(source)
            if not waiting:
                break
        raise _refusal(key, failures)

    def _ready(self, waiting: list[Source], deadline: float, failures: dict[Source, KloisterError]) -> list[Source]:
        """Those who may be asked now; where all are to be left alone, sleep until the first may be."""
        now = self._clock.monotonic()
        ready = {source: self._backoff.ready_at(source.name) for source in waiting}
        first = min(ready.values(), default=now)
        if first > now and first < deadline:
            self._clock.sleep(first - now)
            now = max(self._clock.monotonic(), first)
        for source, when in ready.items():
            if when > now and source not in failures:
                failures[source] = Busy(f"{source.name} wants to be left alone for another {when - now:.0f} s.", None)
        return [source for source, when in ready.items() if when <= now]

    def _ask(self, source: Source, request: Request, key: Key, admit: Admit, deadline: float) -> Held:
        try:
            answer = self._transport.get(request, deadline)
            check_status(source.name, answer, self._clock.now())
        except Unavailable as error:
            if error.code not in _DEFINITE:
                retry_after = error.retry_after if isinstance(error, Busy) else None
                self._backoff.failed(source.name, self._clock.monotonic(), retry_after)
            raise
        self._backoff.succeeded(source.name)
        body, chain = source.read(key, answer)
        fetched = self._clock.now().replace(microsecond=0)
        item = Item(key=key, body=body, chain=chain, source=source.name, fetched=fetched)
        return Held(item, admit(item))


def check_status(name: str, answer: Answer, at: datetime) -> None:
    """Return if the status is 200.

    Raises:
        Unavailable: `source-unknown` (404), `source-retired` (410), `source-busy` (429, 503), `source-failed` (5xx).
        Malformed: `source-redirect` (3xx), `source-status` (any other).
    """
    status = answer.status
    if status == _OK:
        return
    if status == _NOT_FOUND:
        raise Unavailable("source-unknown", f"{name} does not have it.")
    if status == _GONE:
        raise Unavailable("source-retired", f"{name} does not have it any more.")
    if status == _TOO_MANY or (status == _BUSY and "retry-after" in answer.headers):
        raise Busy(f"{name} asks to be left alone (status {status}).", _retry_after(answer, at))
    if status in _SERVER_ERRORS:
        raise Unavailable("source-failed", f"{name} failed (status {status}).")
    if status in _REDIRECTS:
        raise Malformed("source-redirect", f"{name} sends us elsewhere, which is not followed.", "Name the last one.")
    raise Malformed("source-status", f"{name} refused the request (status {status}).", "Check its address and key.")


def _retry_after(answer: Answer, at: datetime) -> float | None:
    """Seconds (RFC 9110, 10.2.3): a number or a date; None where it is neither."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:  # noqa: PLR2004 -- digits of 30 years
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - at).total_seconds()


def _passing(error: KloisterError) -> bool:
    return isinstance(error, Unavailable) and error.code not in _DEFINITE


def _refusal(key: Key, failures: dict[Source, KloisterError]) -> KloisterError:
    """One error for all: what every source said, under the code of the most telling."""
    told = "; ".join(f"{source.name}: {error.text} [{error.code}]" for source, error in failures.items())
    codes = {error.code for error in failures.values()}
    what = f"The collateral ({key.label}) could not be had. Tried {told or 'nobody: no source carries it'}"
    if "source-retired" in codes:
        return Unavailable("collateral-retired", what, "Ask for a newer evaluation number, or for --update standard.")
    if any(not isinstance(error, Unavailable) for error in failures.values()):
        return Unverified("collateral-refused", what, "See what answers there; nothing of it was kept.")
    if not failures or codes & {"source-unknown"}:
        return Unavailable(
            "collateral-unknown", what, "Check platform family and evaluation number, or add a --source."
        )
    return Unavailable(
        "collateral-unreachable",
        what,
        "Check the network, name a source that is reached by --source, or give --collateral FILE.",
    )
