from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kloister.kubernetes.node.epc import blocks, parse_sizes
from kloister.kubernetes.node.plugin.preferred import prefer

IDS = [f"{node}-{number}" for node in "abc" for number in range(8)]


def _node(one: str) -> int:
    return ord(one[0])


def _of(**counts: int) -> list[str]:
    return [f"{node}-{number}" for node, count in counts.items() for number in range(count)]


def _chosen(available: list[str], size: int, must: tuple[str, ...] = ()) -> dict[str, int]:
    return dict(Counter(one[0] for one in prefer(available, must, size, _node)))


def test_the_fullest_node_that_holds_it_is_taken() -> None:
    assert _chosen(_of(a=8, b=4, c=6), 4) == {"b": 4}
    assert _chosen(_of(a=8, b=4, c=6), 5) == {"c": 5}
    assert _chosen(_of(a=8, b=4, c=6), 7) == {"a": 7}


def test_what_no_node_holds_is_spread_over_as_few_as_possible() -> None:
    assert _chosen(_of(a=8, b=4, c=6), 9) == {"a": 8, "b": 1}, "the rest from the fullest one that holds it"
    assert _chosen(_of(a=8, b=4, c=6), 13) == {"a": 8, "c": 5}
    assert _chosen(_of(a=8, b=4, c=6), 18) == {"a": 8, "b": 4, "c": 6}


def test_what_must_be_there_draws_the_rest_to_its_node() -> None:
    assert _chosen(_of(a=8, b=4, c=6), 3, ("c-0",)) == {"c": 3}
    assert _chosen(_of(a=8, b=2, c=2), 3, ("b-0", "c-1")) == {"b": 2, "c": 1}
    assert _chosen(_of(a=8, b=2, c=2), 6, ("b-0",)) == {"b": 2, "a": 4}
    assert _chosen(_of(a=2), 1, ("a-0", "a-1")) == {"a": 1}


def test_the_blocks_of_a_node_are_its_own() -> None:
    nodes = {block.id: block.node for block in blocks(parse_sizes("32Gi,32Gi"))}
    chosen = prefer(sorted(nodes), [], 100, nodes.get)
    assert len({nodes[one] for one in chosen}) == 1


@given(
    st.lists(st.sampled_from(IDS), max_size=30),
    st.lists(st.sampled_from(IDS), max_size=4, unique=True),
    st.integers(0, 30),
)
def test_as_many_as_wanted_each_once_with_all_that_must_be_there(
    available: list[str], must: list[str], size: int
) -> None:
    available = [*available, *must]
    chosen = prefer(available, must, size, _node)
    assert len(chosen) == len(set(chosen)) == min(size, len(set(available)))
    assert set(chosen) <= set(available)
    assert set(must) <= set(chosen) or len(must) > size
