from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.kubernetes.controller.wanted import SIMULATE, STALE, Change, change, labels, left_behind
from kloister.kubernetes.resources import ConfidentialNode, Section

Json = dict[str, Any]
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
GIB = 1 << 30
REPORT = ConfidentialNode(
    "n1",
    8 << 20,
    (Section(0, 32 * GIB), Section(1, 32 * GIB)),
    frozenset({"sgx1", "fsgsbase"}),
    simulated=True,
    seen=AT,
)
TAINT = {"key": "sgx.intel.com/epc", "value": "present", "effect": "NoSchedule"}


def node(labels: Json | None = None, taints: list[Json] | None = None, capacity: Json | None = None) -> Json:
    metadata = {"name": "n1", "resourceVersion": "7", "labels": labels or {}}
    return {"metadata": metadata, "spec": {"taints": taints or []}, "status": {"capacity": capacity or {}}}


def test_a_new_node_gets_capacity_labels_and_taint() -> None:
    wanted = change(node(), REPORT, AT, taint=True)
    assert wanted.status == {"status": {"capacity": {"sgx.intel.com/epc": str(64 * GIB)}}}
    assert wanted.node is not None
    assert wanted.node["spec"] == {"taints": [TAINT]}
    assert wanted.node["metadata"]["resourceVersion"] == "7"
    assert wanted.node["metadata"]["labels"]["sgx.intel.com/capable"] == "true"
    assert wanted.node["metadata"]["labels"]["kloister.dev/fsgsbase"] == "true"
    assert wanted.node["metadata"]["labels"]["kloister.dev/simulated"] == "true"


def test_a_node_that_says_all_is_left_alone() -> None:
    present = node(dict(labels(REPORT)), [TAINT], {"sgx.intel.com/epc": "64Gi"})
    assert change(present, REPORT, AT, taint=True) == Change(None, None)


def test_other_writers_labels_and_taints_stay() -> None:
    other = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
    wanted = change(node({"zone": "a"}, [other]), REPORT, AT, taint=True).node
    assert wanted is not None
    assert wanted["spec"]["taints"] == [other, TAINT]
    assert "zone" not in wanted["metadata"]["labels"]


def test_a_silent_agent_takes_capacity_labels_and_taint_away() -> None:
    present = node({**labels(REPORT), "zone": "a", SIMULATE: "true"}, [TAINT], {"sgx.intel.com/epc": "64Gi"})
    assert change(present, REPORT, AT + STALE, taint=True) == Change(None, None)
    late = timedelta(seconds=1)
    for report, at in ((REPORT, AT + STALE + late), (REPORT, AT - STALE - late), (None, AT)):
        wanted = change(present, report, at, taint=True)
        assert wanted.status == {"status": {"capacity": {"sgx.intel.com/epc": "0"}}}
        assert wanted.node is not None
        assert wanted.node["spec"] == {"taints": []}
        assert set(wanted.node["metadata"]["labels"].values()) == {None}
        assert not {"zone", SIMULATE} & set(wanted.node["metadata"]["labels"])


def test_an_ordinary_node_is_never_touched() -> None:
    assert change(node({"zone": "a"}), None, AT, taint=True) == Change(None, None)


def test_the_capacity_of_another_plugin_is_its_own_to_write() -> None:
    assert change(node(), replace(REPORT, adopted="intel"), AT, taint=True).status is None


def test_without_taints_ours_is_taken_away() -> None:
    assert change(node(taints=[TAINT]), REPORT, AT, taint=False).node is not None
    wanted = change(node(taints=[TAINT]), REPORT, AT, taint=False).node
    assert wanted is not None
    assert wanted["spec"] == {"taints": []}


def test_damaged_capacity_is_mended() -> None:
    assert change(node(capacity={"sgx.intel.com/epc": "many"}), REPORT, AT, taint=True).status is not None


def pod(**status: str) -> Json:
    resources = {"resources": {"limits": {"sgx.intel.com/enclave": "1"}}}
    owners = [{"kind": "ReplicaSet", "controller": True}]
    return {"metadata": {"ownerReferences": owners}, "spec": {"containers": [resources]}, "status": status}


def test_pods_of_a_reboot_are_cleaned_up_and_no_others() -> None:
    failed = pod(phase="Failed", reason="UnexpectedAdmissionError")
    assert left_behind([failed]) == [failed]
    assert left_behind([pod(phase="Failed", reason="Evicted"), pod(phase="Running")]) == []
    assert left_behind([{**failed, "metadata": {}}]) == [], "nobody would make it anew"
    assert left_behind([{**failed, "spec": {"containers": [{}]}}]) == [], "it asks for nothing of ours"


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2**40)), max_size=4),
    st.sets(st.sampled_from(["sgx1", "sgx2", "flc", "kss", "fsgsbase"])),
    st.booleans(),
)
def test_a_report_is_read_as_it_was_written(sections: list[tuple[int, int]], flags: set[str], ready: bool) -> None:  # noqa: FBT001 (drawn)
    report = replace(REPORT, sections=tuple(Section(*item) for item in sections), flags=frozenset(flags), quotes=ready)
    assert ConfidentialNode.parse(report.build()) == report


@pytest.mark.parametrize("path", ["blockBytes", "sections", "seen", "quotes", "flags", "simulated"])
def test_a_report_with_a_part_missing_is_refused(path: str) -> None:
    document = REPORT.build()
    assert ConfidentialNode.parse(document) == REPORT
    del document["spec"][path]
    with pytest.raises(Malformed) as caught:
        ConfidentialNode.parse(document)
    assert caught.value.code == "confidential-node"


def test_a_report_puts_no_labels_of_its_choice_on_a_node() -> None:
    document = replace(REPORT, tees=("snp", "simulate", "a b")).build()
    assert ConfidentialNode.parse(document).tees == ("snp",)
    assert SIMULATE not in labels(ConfidentialNode.parse(document))


def test_a_report_of_more_than_a_quantity_holds_is_refused() -> None:
    half = Section(0, 2**62)
    assert ConfidentialNode.parse(replace(REPORT, sections=(half,)).build()).epc == 2**62
    with pytest.raises(Malformed) as caught:
        ConfidentialNode.parse(replace(REPORT, sections=(half, half)).build())
    assert caught.value.code == "confidential-node"
