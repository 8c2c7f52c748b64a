from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Unavailable
from kloister.formats.sgx import PAGE_SIZE
from kloister.simulator.epc import Epc, EpcNode, PageMap


def test_pages_are_counted_and_given_back() -> None:
    epc = Epc([EpcNode(10 * PAGE_SIZE + 1)])
    assert epc.total == epc.free == 10
    epc.take(7)
    assert (epc.used, epc.free) == (7, 3)
    epc.give((7,))
    assert epc.free == 10


def test_a_refusal_says_what_is_wanted_free_and_there() -> None:
    epc = Epc([EpcNode(1024 * PAGE_SIZE)])
    epc.take(1000)
    epc.take(24)
    epc.give((24,))
    with pytest.raises(Unavailable) as refused:
        epc.take(25)
    assert refused.value.code == "epc-exhausted"
    assert "25 pages (0.1 MiB)" in refused.value.text
    assert "24 (0.1 MiB) of 1024 (4.0 MiB) are free" in refused.value.text
    assert epc.used == 1000


def test_an_enclave_is_at_home_where_most_is_free_and_overflows_to_the_emptiest_others() -> None:
    epc = Epc([EpcNode(10 * PAGE_SIZE), EpcNode(20 * PAGE_SIZE, 1), EpcNode(15 * PAGE_SIZE, 1)])
    assert (epc.total, epc.home()) == (45, 1)
    assert epc.take(12, 1) == (0, 12, 0)
    assert epc.home() == 2
    taken = epc.take(30, 1)
    assert taken == (7, 8, 15)
    assert (epc.used_by_node, epc.free) == ((7, 20, 15), 3)
    with pytest.raises(Unavailable):
        epc.take(4)
    epc.give(taken)
    assert epc.used_by_node == (0, 12, 0)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=12),
)
def test_no_node_is_ever_overdrawn_and_all_comes_back(sizes: list[int], wishes: list[tuple[int, int]]) -> None:
    epc = Epc([EpcNode(size * PAGE_SIZE) for size in sizes])
    placed = []
    for pages, home in wishes:
        if pages > epc.free:
            with pytest.raises(Unavailable):
                epc.take(pages, home % len(sizes))
            continue
        free = sizes[home % len(sizes)] - epc.used_by_node[home % len(sizes)]
        taken = epc.take(pages, home % len(sizes))
        assert sum(taken) == pages
        assert taken[home % len(sizes)] == min(pages, free)
        placed.append(taken)
        assert all(0 <= used <= size for used, size in zip(epc.used_by_node, sizes, strict=True))
    for taken in placed:
        epc.give(taken)
    assert epc.used == 0


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
