"""What would keep Kloister from working in a cluster, or keeps it: findings with what mends them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from kloister.kubernetes.install.kubectl import Json, Kubectl
from kloister.kubernetes.install.nodes import NodeState, states
from kloister.kubernetes.manifests.rendering import ADMISSION_POLICIES, Choice, render

OLDEST = 20  # 1.20, the oldest version that it is tested with
_OTHERS = ("sgx-plugin", "sgx-device-plugin", "intel-sgx-plugin", "sgx-webhook", "sgxdeviceplugin")
_CREATE = ("customresourcedefinitions", "clusterroles", "daemonsets", "mutatingwebhookconfigurations", "namespaces")
_POLICIES = "validatingadmissionpolicies"
NAMESPACE = "kloister-system"
READY = {"DaemonSet": ("numberReady", "desiredNumberScheduled"), "": ("readyReplicas", "replicas")}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `ok`, a sentence, and what to do where it is not."""

    code: str
    ok: bool
    text: str
    remedy: str = ""

    def as_json(self) -> Json:
        """For `--json`."""
        return {"code": self.code, "ok": self.ok, "text": self.text, "remedy": self.remedy}


def check(kubectl: Kubectl, at: datetime) -> list[Check]:
    """Everything, in the order in which it would have to be mended."""
    minor = kubectl.minor()
    kept = _agents_kept_apart(kubectl, minor)
    return [*_before(kubectl, minor), *_workloads(kubectl), *_webhook(kubectl), kept, *_nodes(kubectl, at)]


def _before(kubectl: Kubectl, minor: int) -> Iterator[Check]:
    yield Check("cluster-version", minor >= OLDEST, f"Kubernetes 1.{minor}", f"1.{OLDEST} or newer is needed.")
    wanted = (*_CREATE, _POLICIES) if minor >= ADMISSION_POLICIES else _CREATE
    refused = [name for name in wanted if not kubectl.allowed("create", name)]
    text = f"You may not create {', '.join(refused)}." if refused else "You may install."
    yield Check("cluster-rights", not refused, text, "Ask for cluster-admin.")
    others = [
        f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for item in kubectl.items("daemonsets", "--all-namespaces")
        if any(name in item["metadata"]["name"] for name in _OTHERS)
    ]
    text = f"Another SGX plugin is here: {', '.join(others)}. Its resources are used." if others else "No other plugin."
    yield Check("other-plugin", ok=True, text=text)


def _workloads(kubectl: Kubectl) -> Iterator[Check]:
    present = {
        (item["kind"], item["metadata"]["name"]): item
        for kind in ("daemonsets", "deployments", "statefulsets")
        for item in kubectl.items(kind, f"--namespace={NAMESPACE}")
    }
    for document in render(Choice()):
        key = (document["kind"], document["metadata"]["name"])
        if document["kind"] in ("DaemonSet", "Deployment", "StatefulSet"):
            yield _workload(key, present.get(key))


def _workload(key: tuple[str, str], found: Json | None) -> Check:
    kind, name = key
    if found is None:
        return Check("not-installed", ok=False, text=f"{name} is not installed.", remedy="`kloister kube install`")
    ready, wanted = ((found.get("status") or {}).get(field) or 0 for field in READY.get(kind, READY[""]))
    remedy = f"kubectl -n {NAMESPACE} describe pods -l app.kubernetes.io/name={name}"
    return Check("pods-ready", ready == wanted, f"{name}: {ready} of {wanted} pods are ready.", remedy)


def _webhook(kubectl: Kubectl) -> Iterator[Check]:
    for item in kubectl.items("mutatingwebhookconfigurations"):
        if item["metadata"]["name"] == "kloister-webhook":
            bundle = (item["webhooks"][0].get("clientConfig") or {}).get("caBundle") or ""
            known = b64decode(bundle).count(b"BEGIN CERTIFICATE")
            text = f"The API server trusts {known} authorities of the webhook." if known else "It trusts none yet."
            yield Check("webhook-trust", known > 0, text, f"kubectl -n {NAMESPACE} logs deploy/kloister-webhook")


def _agents_kept_apart(kubectl: Kubectl, minor: int) -> Check:
    """Whether an admission policy lets each agent write its own node's report only."""
    if minor < ADMISSION_POLICIES:
        text = f"Any agent can write any node's report: from Kubernetes 1.{ADMISSION_POLICIES} on a policy forbids it."
        return Check("agents-apart", ok=True, text=text)
    bindings = {item["metadata"]["name"] for item in kubectl.items("validatingadmissionpolicybindings")}
    found = "kloister-node" in bindings
    text = "Each agent writes its own node's report only." if found else "Any agent can write any node's report."
    return Check("agents-apart", found, text, "`kloister kube install`")


def _nodes(kubectl: Kubectl, at: datetime) -> Iterator[Check]:
    confidential = [state for state in cluster_states(kubectl, at) if state.report is not None]
    text = f"{len(confidential)} nodes have an agent that reports."
    yield Check("confidential-nodes", bool(confidential), text, "Does any node have SGX? `kloister doctor` there says.")
    for state in confidential:
        reason = state.report.reason if state.report else ""
        said = f"{state.name}: {state.state}" + (f" ({reason})" if reason else "")
        yield Check("node-state", state.state == "ready", said, f"kloister node describe {state.name}")


def cluster_states(kubectl: Kubectl, at: datetime) -> list[NodeState]:
    """All nodes of a cluster."""
    pods = kubectl.items("pods", "--all-namespaces", "--field-selector=spec.nodeName!=")
    return states(kubectl.items("nodes"), kubectl.items("confidentialnodes"), pods, at)
