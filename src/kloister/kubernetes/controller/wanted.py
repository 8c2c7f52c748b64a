"""What a node should look like, given what its agent reports: pure functions from objects to merge patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kloister.errors import KloisterError
from kloister.kubernetes.names import CAPABLE, EPC, EPC_MIB, GROUP, TAINT
from kloister.kubernetes.quantity import whole
from kloister.kubernetes.resources import ConfidentialNode

STALE = timedelta(minutes=5)  # an agent writes every minute: after five silent ones its node counts as without EPC
_PREFIX = f"{GROUP}/"
SIMULATE = f"{_PREFIX}simulate"  # the operator's own label: which nodes are to be simulated ones
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """Merge patches (RFC 7396) of one node; None where nothing is to do."""

    node: Json | None
    status: Json | None


def change(node: Mapping[str, Any], report: ConfidentialNode | None, at: datetime, *, taint: bool) -> Change:
    """What to patch on a node so that it says what its agent reports.

    Args:
        node: the Node object.
        report: of its agent; None where there is none (any more).
        at: now.
        taint: whether ordinary pods are kept off.
    """
    alive = report is not None and abs(at - report.seen) <= STALE  # one of the future would never grow old
    current = report if alive else None
    return Change(_metadata(node, current, taint=taint), _capacity(node, current))


def _capacity(node: Mapping[str, Any], report: ConfidentialNode | None) -> Json | None:
    """Another plugin's capacity (`adopted`) is its own to write."""
    present = (node.get("status") or {}).get("capacity") or {}
    if report is not None and report.adopted:
        return None
    wanted = report.epc if report else 0
    if report is None and EPC not in present:
        return None
    try:
        same = EPC in present and whole(present[EPC]) == wanted
    except KloisterError:
        same = False
    return None if same else {"status": {"capacity": {EPC: str(wanted)}}}


def labels(report: ConfidentialNode | None) -> dict[str, str]:
    """The labels of a node; none where no agent reports."""
    if report is None:
        return {}
    found = {f"{_PREFIX}{flag}": "true" for flag in sorted(report.flags)}
    found |= {f"{_PREFIX}{tee}": "true" for tee in report.tees}
    found[f"{_PREFIX}simulated"] = "true" if report.simulated else "false"
    found[f"{_PREFIX}quotes"] = "ready" if report.quotes else "failing"
    if report.epc:
        found |= {CAPABLE: "true", f"{_PREFIX}epc-mib": str(report.epc >> 20)}
        found[f"{_PREFIX}numa-nodes"] = str(len(report.sections))
    return found


def _metadata(node: Mapping[str, Any], report: ConfidentialNode | None, *, taint: bool) -> Json | None:
    metadata = node.get("metadata") or {}
    patch: Json = {}
    if different := _labels(metadata.get("labels") or {}, labels(report)):
        patch["metadata"] = {"labels": different}
    present = (node.get("spec") or {}).get("taints") or []
    taints = _taints(present, wanted=taint and report is not None and report.epc > 0)
    if taints != present:
        patch["spec"] = {"taints": taints}
        # a list is replaced as a whole: another writer's taint must not be lost
        patch.setdefault("metadata", {})["resourceVersion"] = metadata.get("resourceVersion")
    return patch or None


def _labels(present: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    ours = {name for name in present if name.startswith(_PREFIX) or name == CAPABLE} - {SIMULATE}
    changed: dict[str, str | None] = {name: value for name, value in wanted.items() if present.get(name) != value}
    return changed | dict.fromkeys(ours - set(wanted))


def _taints(present: list[Json], *, wanted: bool) -> list[Json]:
    others = [taint for taint in present if taint.get("key") != TAINT]
    mine = [taint for taint in present if taint.get("key") == TAINT]
    if not wanted:
        return present if not mine else others
    return present if mine else [*others, {"key": TAINT, "value": "present", "effect": "NoSchedule"}]


def left_behind(pods: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Pods to delete: admitted before the device plugin was back after a reboot, and somebody will make them anew.

    Kubernetes never runs such a pod again (kubernetes/kubernetes issue 128043). A pod without an owner stays: nobody
    would replace it.
    """
    return [pod for pod in pods if _failed_admission(pod) and _owned(pod) and asks_for_epc(pod)]


def _failed_admission(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("phase") == "Failed" and status.get("reason") == "UnexpectedAdmissionError")


def _owned(pod: Mapping[str, Any]) -> bool:
    owners = (pod.get("metadata") or {}).get("ownerReferences") or []
    return any(owner.get("controller") for owner in owners)


def asks_for_epc(pod: Mapping[str, Any]) -> bool:
    """Whether a container of the pod has a limit of EPC or of SGX's devices."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    asked = {name for container in containers for name in ((container.get("resources") or {}).get("limits") or {})}
    return bool(asked & {EPC, EPC_MIB}) or any(name.startswith("sgx.intel.com/") for name in asked)
