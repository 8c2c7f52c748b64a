"""QE identities: every field in its place, and its borders (Intel PCS API v4, "Get Quoting Enclave Identity")."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kloister.formats.dcap import QeIdentity, QeLevel, TcbStatus
from tests.support.evidence import code_of

MIB = 1 << 20
LEVEL = {"tcb": {"isvsvn": 8}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"}
GIVEN: dict[str, Any] = {
    "id": "TD_QE",
    "version": 2,
    "issueDate": "2026-06-15T01:02:03Z",
    "nextUpdate": "2026-07-15T04:05:06Z",
    "tcbEvaluationDataNumber": 17,
    "miscselect": "01020304",
    "miscselectMask": "FFFFFFFE",
    "attributes": "11000000000000000000000000000022",
    "attributesMask": "fbffffffffffffff0000000000000000",
    "mrsigner": "DC" * 32,
    "isvprodid": 2,
    "tcbLevels": [LEVEL, LEVEL | {"tcb": {"isvsvn": 9}, "advisoryIDs": ["INTEL-SA-00615"], "tcbStatus": "Revoked"}],
}


def code(**changes: Any) -> str:
    """The reason code with which the changed document is refused."""
    return code_of(lambda: QeIdentity.parse(json.dumps(GIVEN | changes)))


def test_every_field_is_read_from_its_place() -> None:
    text, date = json.dumps(GIVEN), datetime(2024, 3, 13, tzinfo=UTC)
    assert QeIdentity.parse(text) == QeIdentity(
        text=text,
        id="TD_QE",
        issue_date=datetime(2026, 6, 15, 1, 2, 3, tzinfo=UTC),
        next_update=datetime(2026, 7, 15, 4, 5, 6, tzinfo=UTC),
        evaluation_number=17,
        miscselect=0x01020304,
        miscselect_mask=0xFFFFFFFE,
        attributes=b"\x11" + bytes(14) + b"\x22",
        attributes_mask=b"\xfb" + b"\xff" * 7 + bytes(8),
        mrsigner=b"\xdc" * 32,
        isvprodid=2,
        levels=(QeLevel(9, TcbStatus.REVOKED, date, ("INTEL-SA-00615",)), QeLevel(8, TcbStatus.UP_TO_DATE, date, ())),
    )


@pytest.mark.parametrize("name", GIVEN)
def test_no_field_may_be_missing(name: str) -> None:
    rest = {other: value for other, value in GIVEN.items() if other != name}
    assert code_of(lambda: QeIdentity.parse(json.dumps(rest))) == "qe-identity-field"


@pytest.mark.parametrize(
    ("name", "fit", "unfit"),
    [
        ("tcbEvaluationDataNumber", 0xFFFFFFFF, 0x100000000),
        ("tcbEvaluationDataNumber", 0, -1),
        ("isvprodid", 0xFFFF, 0x10000),
        ("isvprodid", 0, -1),
        ("miscselect", "00" * 4, "00" * 3),
        ("miscselect", "FF" * 4, "00" * 5),
        ("miscselectMask", "ff" * 4, "00" * 5),
        ("miscselectMask", "00" * 4, "00" * 3),
        ("attributes", "00" * 16, "00" * 15),
        ("attributes", "00" * 16, "00" * 17),
        ("attributesMask", "00" * 16, "00" * 15),
        ("attributesMask", "00" * 16, "00" * 17),
        ("mrsigner", "aF" * 32, "00" * 31),
        ("mrsigner", "aF" * 32, "00" * 33),
        ("tcbLevels", [LEVEL | {"tcb": {"isvsvn": 0xFFFF}}], [LEVEL | {"tcb": {"isvsvn": 0x10000}}]),
        ("tcbLevels", [LEVEL | {"tcb": {"isvsvn": 0}}], [LEVEL | {"tcb": {"isvsvn": -1}}]),
        ("tcbLevels", [LEVEL] * 1000, [LEVEL] * 1001),
        ("tcbLevels", [LEVEL | {"advisoryIDs": ["A"] * 1000}], [LEVEL | {"advisoryIDs": ["A"] * 1001}]),
    ],
)
def test_fields_end_at_their_borders(name: str, fit: Any, unfit: Any) -> None:
    assert (code(**{name: fit}), code(**{name: unfit})) == ("accepted", "qe-identity-field")


@pytest.mark.parametrize(
    ("version", "found"),
    [(1, "version"), (3, "version"), (0xFFFFFFFF, "version"), (0x100000000, "field"), (-1, "field"), (2.0, "field")],
)
def test_there_is_one_version(version: Any, found: str) -> None:
    assert (code(), code(version=version)) == ("accepted", f"qe-identity-{found}")


@pytest.mark.parametrize("status", TcbStatus)
def test_an_enclave_has_one_of_three_statuses(status: TcbStatus) -> None:
    known = status in ("UpToDate", "OutOfDate", "Revoked")
    assert code(tcbLevels=[LEVEL | {"tcbStatus": status}]) == ("accepted" if known else "qe-identity-field")


def test_a_document_has_at_most_1_mib() -> None:
    text = json.dumps(GIVEN)
    assert QeIdentity.parse(text.ljust(MIB)).levels == QeIdentity.parse(text).levels
    assert code_of(lambda: QeIdentity.parse(text.ljust(MIB + 1))) == "qe-identity-size"
