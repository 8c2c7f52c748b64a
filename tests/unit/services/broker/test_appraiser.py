"""Quotes of real platforms at the broker: the collateral of each is fetched once, from a server that speaks the API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from kloister import clock
from kloister.errors import KloisterError
from kloister.formats.dcap import TcbStatus
from kloister.serve.broker import Platforms
from kloister.services.broker.appraiser import MAX_AGE, FetchingAppraiser
from kloister.services.collateral.settings import Settings
from kloister.simulator.documents import EVALUATION_NUMBER, TcbStage
from kloister.simulator.platform import SimulatedPlatform
from kloister.trust.root import Root
from kloister.trust.verifier import INTEL_ROOT
from tests.support import pcs
from tests.support.enclaves import FUSES, KEYID, signer

PLATFORM = SimulatedPlatform(FUSES, KEYID, author=signer())
ROOT = Root.from_der(PLATFORM.root())
QUOTE = PLATFORM.quote_content(b"content", bytes(64))
EARLY = TcbStage(status=TcbStatus.OUT_OF_DATE, evaluation_number=EVALUATION_NUMBER + 1)


def platforms(server: pcs.Server, cache: Path, root: Root = ROOT, update: str = "standard") -> Platforms:
    settings = Settings.of({}, sources=[f"pccs+{server.url}"], cache=cache, timeout=2, update=update)
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
