from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kloister.formats.dcap import TcbStatus
from kloister.services.appraisal import OPERATOR_NAMED
from kloister.services.appraisal.inputs import parse_policy
from kloister.services.appraisal.whatif import Question, Window, what_if
from kloister.simulator.documents import TcbStage
from kloister.trust.policy.appraisal import AppraisalPolicy
from kloister.trust.verifier import Collateral
from tests.support.evidence import NOW, Forge

FORGE = Forge()
NOW_PARTS = Collateral.from_json(FORGE.documents())
DAY = NOW.replace(hour=0)
OLD = TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00001",), evaluation_number=21)


def question(policy: AppraisalPolicy = OPERATOR_NAMED) -> Question:
    return Question(FORGE.quote(), [FORGE.root], policy)


def test_the_first_row_is_now_and_says_when_the_collateral_ends() -> None:
    (row,) = what_if(question(), NOW_PARTS, NOW)
    assert (row.collateral, row.at, row.evaluation_number) == ("given", NOW, 20)
    assert row.appraisal.accepted
    assert row.says == "Collateral expires 2026-07-15."
    assert Window.of(NOW_PARTS) == Window(DAY, DAY + timedelta(days=30), 20, datetime(2027, 1, 1, tzinfo=UTC))


def test_early_collateral_shows_what_comes() -> None:
    early = Collateral.from_json(FORGE.documents(OLD))
    _, row = what_if(question(), NOW_PARTS, NOW, [("early", early)])
    assert (row.collateral, row.at, row.evaluation_number) == ("early", NOW, 21)
    assert (row.appraisal.tcb_status, row.appraisal.accepted) == ("OutOfDate", False)
    assert row.says == (
        "Will be OutOfDate from 2027-01-01 on, when evaluation 21 is the standard baseline. "
        "New advisories: INTEL-SA-00001. It would be refused."
    )
    assert row.as_json()["reason"] == "tcb-not-accepted"


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-06-15", "Will be OutOfDate from 2027-06-15 on, when evaluation 21 is the standard baseline."),
        ("2024-02-29", "Is OutOfDate with evaluation 21, the standard baseline since 2025-03-01."),
        ("2025-06-15", "Is OutOfDate with evaluation 21, the standard baseline since 2026-06-15."),
        ("2025-06-16", "Will be OutOfDate from 2026-06-16 on, when evaluation 21 is the standard baseline."),
    ],
)
def test_an_evaluation_becomes_standard_a_year_after_its_date(day: str, expected: str) -> None:
    date = datetime.fromisoformat(day).replace(tzinfo=UTC)
    stage = TcbStage(status=TcbStatus.OUT_OF_DATE, date=date, evaluation_number=21)
    old = TcbStage(date=datetime(2023, 1, 1, tzinfo=UTC))
    given, other = (Collateral.from_json(FORGE.documents(each)) for each in (old, stage))
    assert what_if(question(), given, NOW, [("early", other)])[1].says.startswith(expected)
    assert what_if(question(), given, NOW, [("early", other)], [NOW])[3].says == expected


def test_the_last_year_has_no_year_after() -> None:
    last = replace(OLD, date=datetime(9999, 12, 31, tzinfo=UTC))
    window = Window.of(Collateral.from_json(FORGE.documents(last)))
    assert window.standard == last.date


def test_an_older_evaluation_is_called_so() -> None:
    early = Collateral.from_json(FORGE.documents(OLD))
    _, row, later = what_if(question(), early, NOW, [("standard", NOW_PARTS)], [NOW])[:3]
    assert row.says == "Is UpToDate with the older evaluation 20. It would be accepted."
    assert later.says == ""  # the given collateral, as it is
    same = Collateral.from_json(FORGE.documents(replace(OLD, evaluation_number=20)))
    _, row = what_if(question(), NOW_PARTS, NOW, [("other", same)])
    assert row.says.startswith(
        "Is OutOfDate with this collateral. New advisories: INTEL-SA-00001. It would be refused."
    )


def test_collateral_of_the_future_is_judged_from_its_first_day() -> None:
    later = NOW + timedelta(days=40)
    coming = Collateral.from_json(FORGE.documents(OLD, later))
    _, row = what_if(question(), NOW_PARTS, NOW, [("next", coming)])
    assert row.at == later.replace(hour=0)
    assert row.says.startswith("Will be OutOfDate from 2027-01-01 on, when evaluation 21 is the standard baseline.")
    sooner = Collateral.from_json(FORGE.documents(replace(OLD, date=NOW - timedelta(days=400)), later))
    _, row = what_if(question(), NOW_PARTS, NOW, [("next", sooner)])
    assert row.says.startswith("Will be OutOfDate from 2026-07-25 on.")
    same = Collateral.from_json(FORGE.documents(replace(OLD, evaluation_number=20), later))
    _, row = what_if(question(), NOW_PARTS, NOW, [("next", same)])
    assert row.says.startswith("Will be OutOfDate from 2026-07-25 on.")
    past = Collateral.from_json(FORGE.documents(now=NOW - timedelta(days=60)))
    _, row = what_if(question(), NOW_PARTS, NOW, [("last", past)])
    assert row.says == "This collateral expired 2026-05-16."
    assert row.appraisal.accepted


def test_other_times_say_when_collateral_ends_and_what_holds_until_then() -> None:
    times = [NOW + timedelta(days=60), NOW + timedelta(days=1), NOW - timedelta(days=9)]
    _, late, soon, before = what_if(question(), NOW_PARTS, NOW, times=times)
    assert late.says == "Collateral expires 2026-07-15. Until then: UpToDate."
    assert late.appraisal.reason is not None
    assert late.appraisal.reason.code.endswith("-expired")
    assert (soon.says, soon.appraisal.accepted) == ("", True)
    assert before.says == "Collateral is valid from 2026-06-15 on."


def test_every_other_collateral_is_tried_at_every_other_time() -> None:
    later = NOW + timedelta(days=40)
    coming = Collateral.from_json(FORGE.documents(OLD, later))
    rows = what_if(question(), NOW_PARTS, NOW, [("next", coming)], [later])
    assert [(row.collateral, row.at) for row in rows[2:]] == [("given", later), ("next", later)]
    assert rows[3].says == "Will be OutOfDate from 2027-01-01 on, when evaluation 21 is the standard baseline."


def test_a_waiver_that_ends_is_found() -> None:
    waived = parse_policy(
        b"simulated: allow\ntcb:\n  waive:\n"
        b'    - {advisory: INTEL-SA-00001, until: "2026-06-20", reason: "update is planned"}\n'
    )
    parts = Collateral.from_json(FORGE.documents(OLD))
    first, row = what_if(question(waived), parts, NOW, times=[NOW + timedelta(days=6)])
    assert first.appraisal.accepted
    assert not row.appraisal.accepted
    assert "INTEL-SA-00001" in row.says


def test_unreadable_collateral_is_a_row_that_says_so() -> None:
    broken = replace(NOW_PARTS, tcb_info="{}")
    _, row, again = (
        what_if(question(), NOW_PARTS, NOW, [("broken", broken)], [NOW])[0:2]
        + what_if(question(), broken, NOW, times=[NOW])[1:]
    )
    assert (row.evaluation_number, row.appraisal.genuine) == (None, False)
    assert row.says
    assert again.says
