"""What a cluster's nodes say of themselves: reports of the agents beside what the scheduler sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kloister.errors import Malformed
from kloister.kubernetes.controller.wanted import STALE
from kloister.kubernetes.names import EPC, EPC_BLOCK
from kloister.kubernetes.quantity import whole
from kloister.kubernetes.resources import ConfidentialNode

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node.

    Attributes:
        name: the node's.
        report: of its agent, None where there is none.
        capacity: EPC in bytes that the scheduler counts with.
        blocks: EPC blocks that its kubelet offers.
        requested: EPC in bytes that running and waiting pods on it ask for.
        ready: the node's own condition.
        fresh: the report is not older than five minutes.
    """

    name: str
    report: ConfidentialNode | None
    capacity: int
    blocks: int
    requested: int
    ready: bool
    fresh: bool

    @property
    def state(self) -> str:
        """One word: `ordinary`, `ready`, or what is wrong."""
        if self.report is None:
            return "ordinary"
        if not self.ready:
            return "node-down"
        if not self.fresh:
            return "agent-silent"
        if not self.report.quotes:
            return "no-quotes"
        return "ready" if self.capacity and (self.blocks or self.report.adopted) else "no-capacity"

    def as_json(self) -> Json:
        """For `--json`."""
        return {
            "name": self.name,
            "state": self.state,
            "epcCapacity": self.capacity,
            "epcRequested": self.requested,
            "epcBlocks": self.blocks,
            "report": self.report.build()["spec"] if self.report else None,
        }


def states(nodes: Iterable[Json], reports: Iterable[Json], pods: Iterable[Json], at: datetime) -> list[NodeState]:
    """All nodes, by name."""
    known = {report.name: report for report in map(_report, reports) if report}
    asked = _requests(pods)
    found = [_state(node, known.get(node["metadata"]["name"]), asked, at) for node in nodes]
    return sorted(found, key=lambda state: state.name)


def _state(node: Json, report: ConfidentialNode | None, asked: Mapping[str, int], at: datetime) -> NodeState:
    status = node.get("status") or {}
    conditions = {item["type"]: item["status"] for item in status.get("conditions") or []}
    return NodeState(
        name=node["metadata"]["name"],
        report=report,
        capacity=_amount(status.get("capacity"), EPC),
        blocks=_amount(status.get("allocatable"), EPC_BLOCK),
        requested=asked.get(node["metadata"]["name"], 0),
        ready=conditions.get("Ready") == "True",
        fresh=report is not None and at - report.seen <= STALE,
    )


def _requests(pods: Iterable[Json]) -> dict[str, int]:
    asked: dict[str, int] = {}
    for pod in pods:
        spec = pod.get("spec") or {}
        if spec.get("nodeName") and (pod.get("status") or {}).get("phase") in ("Pending", "Running"):
            amounts = [_amount((c.get("resources") or {}).get("requests"), EPC) for c in spec.get("containers") or []]
            asked[spec["nodeName"]] = asked.get(spec["nodeName"], 0) + sum(amounts)
    return asked


def _amount(listed: Mapping[str, Any] | None, name: str) -> int:
    try:
        return whole((listed or {}).get(name, 0))
    except Malformed:
        return 0


def _report(document: Json) -> ConfidentialNode | None:
    try:
        return ConfidentialNode.parse(document)
    except Malformed:
        return None
