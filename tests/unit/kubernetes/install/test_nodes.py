from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kloister.kubernetes.install.nodes import NodeState, states
from kloister.kubernetes.resources import ConfidentialNode, Section

Json = dict[str, Any]
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
REPORT = ConfidentialNode("n1", 8 << 20, (Section(0, 1 << 30),), frozenset(), simulated=True, seen=AT)


def node(name: str = "n1", ready: str = "True", epc: str = "1Gi", blocks: str = "128") -> Json:
    status = {
        "conditions": [{"type": "Ready", "status": ready}],
        "capacity": {"sgx.intel.com/epc": epc},
        "allocatable": {"sgx.intel.com/epc-block": blocks},
    }
    return {"metadata": {"name": name}, "status": status}


def pod(phase: str, epc: str = "10Mi", on: str = "n1") -> Json:
    container = {"resources": {"requests": {"sgx.intel.com/epc": epc}}}
    return {"spec": {"nodeName": on, "containers": [container]}, "status": {"phase": phase}}


def only(document: Json, report: ConfidentialNode | None, at: datetime = AT, *pods: Json) -> NodeState:
    [state] = states([document], [report.build()] if report else [], pods, at)
    return state


def test_a_good_node_is_ready_and_its_running_pods_count() -> None:
    state = only(node(), REPORT, AT, pod("Running"), pod("Pending", "1Mi"), pod("Succeeded"), pod("Running", on="n2"))
    assert (state.state, state.capacity, state.blocks) == ("ready", 1 << 30, 128)
    assert state.requested == 11 << 20
    assert state.as_json()["report"]["simulated"] is True


@pytest.mark.parametrize(
    ("document", "report", "at", "word"),
    [
        (node(), None, AT, "ordinary"),
        (node(ready="Unknown"), REPORT, AT, "node-down"),
        (node(), REPORT, AT + timedelta(minutes=6), "agent-silent"),
        (node(), replace(REPORT, quotes=False, reason="aesm-busy"), AT, "no-quotes"),
        (node(epc="0"), REPORT, AT, "no-capacity"),
        (node(blocks="0"), REPORT, AT, "no-capacity"),
        (node(blocks="0"), replace(REPORT, adopted="intel"), AT, "ready"),
        (node(epc="many"), REPORT, AT, "no-capacity"),
    ],
)
def test_what_is_wrong_has_a_word(document: Json, report: ConfidentialNode | None, at: datetime, word: str) -> None:
    assert only(document, report, at).state == word


def test_nodes_come_by_name_and_damaged_reports_do_not_matter() -> None:
    found = states([node("b"), node("a")], [{"metadata": {"name": "a"}}], [], AT)
    assert [(state.name, state.state) for state in found] == [("a", "ordinary"), ("b", "ordinary")]
