from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Unavailable
from kloister.formats.sgx import PAGE_SIZE
from kloister.simulator.epc import Epc, PageMap


def test_pages_are_counted_and_given_back() -> None:
    epc = Epc(10 * PAGE_SIZE + 1)
    assert epc.total == epc.free == 10
    epc.take(7)
    assert (epc.used, epc.free) == (7, 3)
    epc.give(7)
    assert epc.free == 10


def test_a_refusal_says_what_is_wanted_free_and_there() -> None:
    epc = Epc(1024 * PAGE_SIZE)
    epc.take(1000)
    epc.take(24)
    epc.give(24)
    with pytest.raises(Unavailable) as refused:
        epc.take(25)
    assert refused.value.code == "epc-exhausted"
    assert "25 pages (0.1 MiB)" in refused.value.text
    assert "24 (0.1 MiB) of 1024 (4.0 MiB) are free" in refused.value.text
    assert epc.used == 1000


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), max_size=30))
def test_a_page_map_is_a_set_of_pages(runs: list[tuple[int, int]]) -> None:
    pages, model = PageMap(), set[int]()
    for start, count in runs:
        wanted = set(range(start, start + count))
        if wanted & model:
            with pytest.raises(Malformed) as refused:
                pages.add(start * PAGE_SIZE, count)
            assert refused.value.code == "eadd-twice"
        else:
            pages.add(start * PAGE_SIZE, count)
            model |= wanted
        assert pages.count == len(model)
