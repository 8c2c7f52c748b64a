from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.kubernetes.node.allocations.record import LIMIT, Allocation
from kloister.kubernetes.node.epc import MOST_BLOCKS

RECORD = Allocation("abcdefghijklmnopqrst", ("epc0-1", "epc0-2"), 2 << 20, 1_700_000_000)
IDS = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=20, max_size=20)
BLOCKS = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63), min_size=1, max_size=20, unique=True
)


@given(st.builds(Allocation, IDS, BLOCKS.map(tuple), st.integers(0, 1 << 48), st.integers(0, 1 << 40)))
def test_a_record_is_read_as_it_was_written(allocation: Allocation) -> None:
    assert Allocation.parse(allocation.build()) == allocation


def test_the_largest_fits() -> None:
    largest = Allocation(RECORD.id, tuple(f"epc63-{number}" for number in range(MOST_BLOCKS)), 1 << 40, 1)
    assert len(largest.build()) < LIMIT
    assert Allocation.parse(largest.build()) == largest


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../etc"}, {"id": 1}, {"blocks": []}, {"blocks": "epc0-1"}, {"blocks": ["a/b"]}, {"blocks": [1]},
        {"blocks": ["a", "a"]}, {"bytes": -1}, {"bytes": 1.0}, {"bytes": True}, {"made": None}, {"more": 1},
    ],
)  # fmt: skip
def test_a_record_with_another_value_is_refused(change: dict[str, object]) -> None:
    value = json.loads(RECORD.build())
    assert Allocation.parse(json.dumps(value).encode()) == RECORD
    with pytest.raises(Malformed) as refused:
        Allocation.parse(json.dumps(value | change).encode())
    assert refused.value.code == "allocation-record"


@given(st.integers(0, len(RECORD.build()) - 1), st.integers(0, 255))
def test_damage_is_refused_or_read(place: int, value: int) -> None:
    data = bytearray(RECORD.build())
    with pytest.raises(Malformed):
        Allocation.parse(bytes(data[:place]))
    data[place] = value
    with contextlib.suppress(Malformed):
        assert isinstance(Allocation.parse(bytes(data)), Allocation)
