"""Quotes of real platforms at the broker: the collateral of each is fetched once, from a server that speaks the API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from kloister import clock
from kloister.errors import KloisterError, Unavailable, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.serve.broker import Platforms
from kloister.serve.collateral import open_source
from kloister.services.broker.appraiser import DOUBT, MAX_AGE, CachingAppraiser, FetchingAppraiser
from kloister.services.collateral import CachedSource, Provided, Update, Wanted
from kloister.services.collateral.settings import Settings
from kloister.simulator.documents import EVALUATION_NUMBER, TcbStage
from kloister.simulator.platform import SimulatedPlatform
from kloister.trust.evidence import TcbRevoked
from kloister.trust.root import Root
from kloister.trust.verifier import INTEL_ROOT, Collateral
from tests.support import pcs
from tests.support.enclaves import FUSES, KEYID, signer

PLATFORM = SimulatedPlatform(FUSES, KEYID, author=signer())
ROOT = Root.from_der(PLATFORM.root())
QUOTE = PLATFORM.quote_content(b"content", bytes(64))
BAD = QUOTE[:370] + bytes([QUOTE[370] ^ 1]) + QUOTE[371:]  # REPORTDATA that was not signed
EARLY = TcbStage(status=TcbStatus.OUT_OF_DATE, evaluation_number=EVALUATION_NUMBER + 1)


def platforms(server: pcs.Server, cache: Path, root: Root = ROOT, update: str = "standard") -> Platforms:
    settings = Settings.of({}, sources=[f"pccs+{server.url}"], cache=cache, timeout=60, update=update)
    return Platforms(settings, (root,))


def code(appraise: FetchingAppraiser) -> str:
    with pytest.raises(KloisterError) as caught:
        appraise(QUOTE, clock.now())
    return caught.value.code


def test_a_platforms_collateral_is_fetched_once_for_all_of_its_enclaves(tmp_path: Path) -> None:
    now = clock.now()
    with pcs.serving(pcs.pcs_of(PLATFORM, now, EARLY).answer) as server:
        appraise = platforms(server, tmp_path / "cache").appraiser()
        with ThreadPoolExecutor(4) as pool:
            found = [each.result() for each in [pool.submit(appraise, QUOTE, now) for _ in range(8)]]
        assert {each.tcb_status for each in found} == {"UpToDate"}
        assert len(server.asked) == 4
        assert appraise(QUOTE, now + MAX_AGE + timedelta(seconds=1)).simulated
        assert len(server.asked) == 4  # the cache below knows it still
        early = platforms(server, tmp_path / "cache", update="early").appraiser()
        assert early(QUOTE, now).tcb_status == "OutOfDate"


def test_no_collateral_and_no_root_are_told_apart(tmp_path: Path) -> None:
    with pcs.serving(pcs.pcs_of(PLATFORM, clock.now()).answer) as server:
        assert code(platforms(server, tmp_path / "a", INTEL_ROOT).appraiser()) == "root-untrusted"
        assert not server.asked
        server.always(pcs.status(500))
        appraise = platforms(server, tmp_path / "b").appraiser()
        assert code(appraise) == "collateral-unreachable"
        server.always(lambda handler, answer: handler.good(answer))
        assert platforms(server, tmp_path / "b").appraiser()(QUOTE, clock.now())


def test_a_broker_is_simulated_if_a_root_of_its_is(tmp_path: Path) -> None:
    settings = Settings.of({}, cache=tmp_path)
    assert Platforms(settings, (ROOT,)).simulated
    assert not Platforms(settings).simulated


class Staged:
    """The platform's own collateral, as a TCB recovery that comes and goes changes it; counts who asks."""

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.stage: TcbStage | None = None
        self.asked = 0

    def collateral(self) -> Collateral:
        self.asked += 1
        return Collateral.from_json(PLATFORM.collateral(self.at, self.stage))

    def roots(self) -> list[Root]:
        return [ROOT]


@pytest.mark.parametrize("status", [TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED])
def test_a_tcb_that_is_good_again_is_not_refused_for_what_is_remembered(status: TcbStatus) -> None:
    now = clock.now()
    source = Staged(now)
    appraise = CachingAppraiser(source)
    source.stage = TcbStage(status=status)
    assert judged(appraise, now) == status
    source.stage = None
    assert judged(appraise, now + DOUBT / 2) == status, "bad news is asked about now and then, not at each request"
    assert source.asked == 1
    assert judged(appraise, now + DOUBT) == "UpToDate"
    assert (source.asked, judged(appraise, now + 2 * DOUBT), source.asked) == (2, "UpToDate", 2)


def judged(appraise: CachingAppraiser | FetchingAppraiser, at: datetime) -> str:
    try:
        return str(appraise(QUOTE, at).tcb_status)
    except TcbRevoked as error:
        return str(error.tcb.status)


def test_so_is_a_real_platforms_where_the_source_has_news(tmp_path: Path) -> None:
    now = clock.now()
    with pcs.serving(pcs.pcs_of(PLATFORM, now, EARLY).answer) as server:
        settings = Settings.of({}, sources=[f"pccs+{server.url}"], cache=tmp_path, timeout=60, update="early")
        source = CountedSource(open_source(settings, [ROOT]), open_source(settings, [ROOT]))
        appraise = FetchingAppraiser(source, [ROOT], Update.EARLY)
        assert judged(appraise, now) == "OutOfDate"
        source.good = True
        assert judged(appraise, now + DOUBT / 2) == "OutOfDate"
        assert judged(appraise, now + DOUBT) == "UpToDate"
        assert judged(appraise, now + 2 * DOUBT) == "UpToDate"
        assert source.asked == 2


class Hanging(Staged):
    """From its second question on it answers only when it is let go."""

    def __init__(self, at: datetime) -> None:
        super().__init__(at)
        self.hangs, self.go = Event(), Event()

    def collateral(self) -> Collateral:
        if self.asked:
            self.hangs.set()
            assert self.go.wait(60)
        return super().collateral()


def test_while_one_bad_quote_has_the_source_asked_the_good_ones_do_not_wait() -> None:
    now = clock.now()
    source = Hanging(now)
    appraise = CachingAppraiser(source)
    assert judged(appraise, now) == "UpToDate"
    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(appraise, BAD, now + DOUBT)
        assert source.hangs.wait(60)
        try:
            good = pool.submit(judged, appraise, now + DOUBT)
            assert good.result(30) == "UpToDate"
            with pytest.raises(Unverified):
                appraise(BAD, now + DOUBT)  # judged by what is known: it has no source asked a second time
        finally:
            source.go.set()
        with pytest.raises(Unverified):
            bad.result(60)
    assert source.asked == 2


class Leaving:
    """A source that has its platform's collateral once and is away from then on."""

    def __init__(self, source: CachedSource) -> None:
        self._source = source
        self.asked = 0

    def collateral(self, wanted: Wanted) -> Provided:
        self.asked += 1
        if self.asked > 1:
            raise Unavailable("collateral-unreachable", "It is away.", "Try again.")
        return self._source.collateral(wanted)


def test_a_bad_quote_takes_no_collateral_from_good_ones(tmp_path: Path) -> None:
    now = clock.now()
    with pcs.serving(pcs.pcs_of(PLATFORM, now).answer) as server:
        settings = Settings.of({}, sources=[f"pccs+{server.url}"], cache=tmp_path, timeout=60)
        source = Leaving(open_source(settings, [ROOT]))
        appraise = FetchingAppraiser(source, [ROOT])
        assert appraise(QUOTE, now).tcb_status == "UpToDate"
        for _ in range(2):
            with pytest.raises(Unverified):
                appraise(BAD, now + DOUBT)
        assert source.asked == 2, "a source that is away is not asked at each bad quote"
        assert appraise(QUOTE, now + DOUBT).tcb_status == "UpToDate"


class CountedSource:
    """Sends one baseline, then the other."""

    def __init__(self, bad: CachedSource, good: CachedSource) -> None:
        self._bad, self._good = bad, good
        self.good = False
        self.asked = 0

    def collateral(self, wanted: Wanted) -> Provided:
        self.asked += 1
        if self.good:
            return self._good.collateral(replace(wanted, update=Update.STANDARD))
        return self._bad.collateral(wanted)
