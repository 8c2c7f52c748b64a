"""TCB info and QE identity: strict reading of Intel's JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.dcap import QeIdentity, TcbInfo, TcbStatus
from tests.support.evidence import Forge, code_of

DOCUMENTS = Forge().documents()
TCB_INFO, QE_IDENTITY = DOCUMENTS["tcb_info"], DOCUMENTS["qe_identity"]


def flat() -> dict[str, Any]:
    """The same TCB info in the form of version 2."""
    info = json.loads(TCB_INFO)
    del info["id"]
    info["version"] = 2
    for level in info["tcbLevels"]:
        components = level["tcb"].pop("sgxtcbcomponents")
        level["tcb"] |= {f"sgxtcbcomp{i:02d}svn": each["svn"] for i, each in enumerate(components, 1)}
    return info  # type: ignore[no-any-return]


def test_versions_2_and_3_say_the_same() -> None:
    three, two = TcbInfo.parse(TCB_INFO), TcbInfo.parse(json.dumps(flat()))
    assert (three.version, two.version, two.id) == (3, 2, "SGX")
    assert two.levels == three.levels
    assert (two.fmspc, two.pceid, two.evaluation_number) == (three.fmspc, three.pceid, 20)
    assert three.issue_date == datetime(2026, 6, 15, tzinfo=UTC)
    assert three.text == TCB_INFO


def test_levels_are_sorted_whatever_their_order() -> None:
    info = json.loads(TCB_INFO)
    info["tcbLevels"].reverse()
    assert TcbInfo.parse(json.dumps(info)).levels == TcbInfo.parse(TCB_INFO).levels
    identity = json.loads(QE_IDENTITY)
    low = {"tcb": {"isvsvn": 1}, "tcbDate": "2020-01-01T00:00:00Z", "tcbStatus": "Revoked", "advisoryIDs": ["A"]}
    identity["tcbLevels"].insert(0, low)
    levels = QeIdentity.parse(json.dumps(identity)).levels
    assert [level.isvsvn for level in levels] == [8, 1]
    assert levels[1].status is TcbStatus.REVOKED
    assert levels[1].advisories == ("A",)


def _level(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda document: change(document["tcbLevels"][0])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version="3"),
        lambda d: d.update(version=True),
        lambda d: d.pop("id"),
        lambda d: d.update(fmspc="zz0000000000"),
        lambda d: d.update(pceId=0),
        lambda d: d.update(issueDate="2026-13-01T00:00:00Z"),
        lambda d: d.update(nextUpdate=None),
        lambda d: d.update(tcbLevels={}),
        lambda d: d.update(tcbLevels=[1]),
        _level(lambda v: v.update(tcbStatus="Fine")),
        _level(lambda v: v.update(advisoryIDs=[1])),
        _level(lambda v: v.update(tcb=None)),
        _level(lambda v: v["tcb"].update(pcesvn=1.5)),
    ],
)
def test_unfit_tcb_info_is_malformed(change: Callable[[dict[str, Any]], object]) -> None:
    info = json.loads(TCB_INFO)
    assert code_of(lambda: TcbInfo.parse(json.dumps(info))) == "accepted"
    change(info)
    assert code_of(lambda: TcbInfo.parse(json.dumps(info))) == "tcb-info-field"


@pytest.mark.parametrize("text", ["", "1", "{", "[]", '{"version":3,"version":3}', "\ud800", "[" * 10_000])
def test_what_is_no_object_is_malformed(text: str) -> None:
    assert code_of(lambda: TcbInfo.parse(text)) in ("tcb-info-json", "tcb-info-field")


@given(st.integers(0, len(TCB_INFO) - 1), st.sampled_from([*list('0z"{}[],:- '), ""]))
def test_a_damaged_document_is_malformed_or_read(at: int, put: str) -> None:
    damaged = TCB_INFO[:at] + put + TCB_INFO[at + 1 :]
    with contextlib.suppress(Malformed):
        assert TcbInfo.parse(damaged).text == damaged
