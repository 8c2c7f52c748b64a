from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.dcap import TcbInfo, TcbStatus
from kloister.simulator.documents import EVALUATION_NUMBER
from kloister.simulator.platform import SimulatedPlatform
from kloister.simulator.recovery import STAGES, Recovery
from tests.support.enclaves import FUSES, KEYID

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RECOVERY = Recovery.create("outofdate", ("INTEL-SA-00615",), NOW, early=True)

recoveries = st.builds(
    Recovery,
    status=st.sampled_from(STAGES),
    advisories=st.lists(st.from_regex(r"INTEL-SA-[0-9]{5}", fullmatch=True), max_size=4).map(tuple),
    date=st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)).map(  # noqa: DTZ001 -- the zone is set below
        lambda at: at.replace(tzinfo=UTC, hour=0, minute=0, second=0, microsecond=0)
    ),
    early=st.booleans(),
)


@given(recoveries)
def test_what_is_stored_is_read(recovery: Recovery) -> None:
    assert Recovery.parse(recovery.build()) == recovery


@given(st.integers(0, len(RECOVERY.build()) - 1), st.integers(1, 255))
def test_damage_is_malformed_or_another_recovery(at: int, flip: int) -> None:
    data = bytearray(RECOVERY.build())
    data[at] ^= flip
    with contextlib.suppress(Malformed):
        Recovery.parse(bytes(data))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"status":1,"advisories":[],"date":"","early":false}',
     b'{"status":"Revoked","advisories":{},"date":"2026-01-01T00:00:00Z","early":false}',
     b'{"status":"Revoked","advisories":[],"date":"tomorrow","early":false}'],
)  # fmt: skip
def test_documents_that_are_none(data: bytes) -> None:
    with pytest.raises(Malformed):
        Recovery.parse(data)


def test_statuses_and_advisories_that_are_none() -> None:
    for status in ("fine", "TDRelaunchAdvised"):
        with pytest.raises(Malformed) as caught:
            Recovery.create(status, (), NOW, early=False)
        assert caught.value.code == "recovery-status"
    for advisories in (("x",), ("INTEL-SA-1",) * 101):
        with pytest.raises(Malformed) as caught:
            Recovery.create("Revoked", advisories, NOW, early=False)
        assert caught.value.code == "recovery-advisory"


def test_the_standard_baseline_counts_an_early_recovery_later() -> None:
    assert RECOVERY.stage(early=True).status is TcbStatus.OUT_OF_DATE
    assert RECOVERY.stage(early=True).evaluation_number == EVALUATION_NUMBER + 1
    assert RECOVERY.stage(early=False).status is TcbStatus.UP_TO_DATE
    assert RECOVERY.stage(early=False).evaluation_number == EVALUATION_NUMBER


@pytest.mark.parametrize("status", STAGES)
def test_the_platforms_collateral_follows_it(status: TcbStatus) -> None:
    recovery = Recovery.create(status, (), NOW, early=False)
    host = SimulatedPlatform(FUSES, KEYID, recovery=lambda: recovery)
    info = TcbInfo.parse(host.collateral(NOW)["tcb_info"])
    own = next(level for level in info.levels if level.components == host.pki.tcb.components)
    assert own.status is status
    assert info.evaluation_number == EVALUATION_NUMBER + (status is not TcbStatus.UP_TO_DATE)
