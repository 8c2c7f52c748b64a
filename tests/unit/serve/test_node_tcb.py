"""A node's TCB status: the verifier's word on its own quotes, with collateral from a server that speaks the API."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from kloister import clock
from kloister.errors import KloisterError
from kloister.formats.dcap import TcbStatus
from kloister.kubernetes.node.tcb import Standing
from kloister.serve.node_tcb import configured_judge, judged
from kloister.simulator.documents import TcbStage
from kloister.simulator.platform import SimulatedPlatform
from kloister.trust.root import Root
from kloister.trust.verifier import INTEL_ROOT, Collateral, VerifierCache
from tests.support import pcs
from tests.support.enclaves import FUSES, KEYID, signer

PLATFORM = SimulatedPlatform(FUSES, KEYID, author=signer())
ROOT = Root.from_der(PLATFORM.root())
QUOTE = PLATFORM.quote_content(b"content", bytes(64))


@pytest.mark.parametrize("status", [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED])
def test_every_status_is_told(status: TcbStatus) -> None:
    stage = None if status is TcbStatus.UP_TO_DATE else TcbStage(status=status)
    collateral = Collateral.from_json(PLATFORM.collateral(clock.now(), stage))
    found = judged(QUOTE, collateral, [ROOT], VerifierCache())
    assert found.status == status
    assert found.issued is not None
    assert found.issued <= clock.now()
    assert (found.expires is None) == (status is TcbStatus.REVOKED)


def test_another_platforms_root_says_nothing() -> None:
    collateral = Collateral.from_json(PLATFORM.collateral(clock.now()))
    with pytest.raises(KloisterError) as caught:
        judged(QUOTE, collateral, [INTEL_ROOT], VerifierCache())
    assert caught.value.code == "root-untrusted"


def test_a_configured_source_is_asked_and_no_other(tmp_path: Path) -> None:
    assert configured_judge({}, tmp_path) is None
    at = clock.now() - timedelta(days=2)
    with pcs.serving(pcs.pcs_of(PLATFORM, at).answer) as server:
        environment = {"KLOISTER_COLLATERAL_SOURCES": f"pccs+{server.url}", "KLOISTER_COLLATERAL_TIMEOUT": "60"}
        assert asked(environment, tmp_path / "a").status == "UpToDate"
        assert len(server.asked) == 4
        server.always(pcs.status(500))
        with pytest.raises(KloisterError, match="collateral"):
            asked(environment, tmp_path / "b")


def asked(environment: dict[str, str], cache: Path) -> Standing:
    judge = configured_judge(environment, cache, (ROOT,))
    assert judge is not None

    async def once() -> Standing:
        return await judge(QUOTE)

    return asyncio.run(once())
