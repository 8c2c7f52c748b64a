"""Install, and take away again without leaving capacity, labels and taints on nodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from kloister import clock
from kloister.kubernetes.install.checking import NAMESPACE, cluster_states
from kloister.kubernetes.install.kubectl import Json, Kubectl
from kloister.kubernetes.manifests.rendering import Choice, render

_KINDS = ("DaemonSet", "Deployment", "StatefulSet")
_KEPT = ("Namespace",)  # deleting it would delete the volumes of broker and attestation service
_CLEARING = 60.0  # seconds that the controller gets to clear the nodes
_PAUSE = 2.0

Told = Callable[[str], None]


def install(kubectl: Kubectl, choice: Choice, seconds: int, told: Told) -> list[Json]:
    """Apply everything and wait until it is ready (`seconds` 0: do not wait). The objects that were applied.

    Raises:
        Misconfigured: `kubectl-missing`. Unavailable: `kubectl-failed`.
    """
    objects = render(choice)
    for line in kubectl.apply(objects):
        told(line)
    for document in objects if seconds else []:
        if document["kind"] in _KINDS:
            told(f"waiting for {document['metadata']['name']}")
            kubectl.rolled_out(document["kind"].lower(), document["metadata"]["name"], NAMESPACE, seconds)
    return objects


def uninstall(kubectl: Kubectl, choice: Choice, told: Told) -> bool:
    """Take everything away but the namespace with its volumes. Whether the nodes were cleared before.

    1. the agents, so that nothing reports; 2. their reports, whereupon the controller clears the nodes; 3. the rest.
    """
    objects = render(choice)
    # 1. agents: one that still ran would report again what is deleted next
    for line in kubectl.delete([item for item in objects if item["kind"] == "DaemonSet"], pods_first=True):
        told(line)
    # 2. reports, and what the controller made of them
    if kubectl.items("confidentialnodes"):
        kubectl.run(["delete", "confidentialnodes", "--all"])
    cleared = _cleared(kubectl, clock.monotonic() + _CLEARING)
    # 3. the rest
    for line in kubectl.delete([item for item in reversed(objects) if item["kind"] not in _KEPT]):
        told(line)
    return cleared


def _cleared(kubectl: Kubectl, until: float) -> bool:
    while any(state.capacity for state in cluster_states(kubectl, _now())):
        if clock.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


def _now() -> datetime:
    return clock.now()
