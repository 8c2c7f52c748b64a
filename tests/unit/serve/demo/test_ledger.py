from __future__ import annotations

import pytest

from kloister.errors import Denied
from kloister.serve.demo.ledger import DONE, FAILED, REFUSED, Ledger, Row


def _refuse(code: str) -> None:
    raise Denied(code, "No.")


def test_only_the_expected_refusal_counts() -> None:
    rows: list[Row] = []
    ledger = Ledger(rows.append)
    ledger.attack("refused as expected", "wanted", lambda: _refuse("wanted"))
    assert not ledger.failed
    ledger.attack("refused for another reason", "wanted", lambda: _refuse("other"))
    ledger.attack("not refused", "wanted", lambda: None)
    assert [row.result for row in rows] == [REFUSED, FAILED, FAILED]
    assert ledger.failed


def test_a_step_that_fails_is_written_down_and_ends_the_demo() -> None:
    ledger = Ledger(lambda _: None)
    with ledger.step("good") as said:
        said.append("note")
    with pytest.raises(Denied), ledger.step("bad"):
        _refuse("why")
    assert [(row.result, row.note) for row in ledger.rows] == [(DONE, "note"), (FAILED, "No. [why]")]
