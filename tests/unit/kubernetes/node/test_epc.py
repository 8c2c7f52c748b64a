from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Misconfigured
from kloister.kubernetes.names import MIB
from kloister.kubernetes.node.epc import MOST_BLOCKS, EpcSection, block_size, blocks, parse_block, parse_sizes, total

GIB = 1 << 30


@pytest.mark.parametrize(
    ("epc", "block"),
    [(93 * MIB, MIB), (8 * GIB, MIB), (8 * GIB + 1, 2 * MIB), (64 * GIB, 8 * MIB), (512 * GIB, 64 * MIB)],
)
def test_a_block_is_as_small_as_8192_of_them_allow(epc: int, block: int) -> None:
    assert block_size(epc) == block


@given(st.lists(st.integers(0, 1 << 42), min_size=1, max_size=8))
def test_blocks_cover_all_but_the_rest_of_each_node(sizes: list[int]) -> None:
    sections = [EpcSection(node, size, "simulated") for node, size in enumerate(sizes)]
    block = block_size(sum(sizes))
    assert block >= MIB
    assert block.bit_count() == 1
    assert block == MIB or sum(sizes) > block // 2 * MOST_BLOCKS  # no larger than needed
    found = blocks(sections)
    assert len(found) <= MOST_BLOCKS
    assert len({one.id for one in found}) == len(found)
    for section in sections:
        assert sum(one.node == section.node for one in found) == section.bytes // block


def test_sections_of_unknown_nodes_have_blocks_of_unknown_nodes() -> None:
    found = blocks([EpcSection(None, 2 * MIB, "tme"), EpcSection(None, MIB, "tme")])
    assert [(one.id, one.node) for one in found] == [("epc0-0", None), ("epc0-1", None), ("epc1-0", None)]


def test_simulated_sizes_are_numbered_by_numa_node() -> None:
    assert parse_sizes("32Gi, 512Mi") == (EpcSection(0, 32 * GIB, "simulated"), EpcSection(1, 512 * MIB, "simulated"))
    assert total(parse_sizes("64Gi")) == 64 * GIB
    assert total(parse_sizes("3000k")) == 2 * MIB, "platforms have whole MiB"


@pytest.mark.parametrize(
    "text", ["", "x", "64G i", "-1Gi", "0", "1Mi,", "512Ki", "17Ti", "1.5", ",".join(["1Gi"] * 65), "1Gi;1Gi"]
)
def test_what_is_no_epc_is_refused(text: str) -> None:
    assert parse_sizes(",".join(["1Gi"] * 64))
    with pytest.raises(Misconfigured) as refused:
        parse_sizes(text)
    assert refused.value.code == "simulated-epc"


def test_a_cluster_decides_on_one_size() -> None:
    sections = parse_sizes("1Gi")
    size = parse_block("64Mi", sections)
    assert (size, len(blocks(sections, size))) == (64 * MIB, 16)
    assert parse_block("1Mi", sections) == MIB


@pytest.mark.parametrize(
    ("text", "sizes"), [("3Mi", "1Gi"), ("512Ki", "1Gi"), ("8Mi", "512Gi"), ("many", "1Gi"), ("0", "1Gi")]
)
def test_a_size_that_cannot_be_is_refused(text: str, sizes: str) -> None:
    assert parse_block("64Mi", parse_sizes(sizes))
    with pytest.raises(Misconfigured) as caught:
        parse_block(text, parse_sizes(sizes))
    assert caught.value.code == "block-size"
