"""Kloister's daemons on the bed, as processes of its machines: the quickest way to real objects of theirs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloister.kubernetes.names import ENCLAVE, EPC, EPC_BLOCK, GROUP, TAINT
from kloister.kubernetes.node.epc import blocks as node_blocks
from kloister.kubernetes.node.epc import parse_sizes, total
from kloister.kubernetes.node.plugin.service import PLACES
from kloister.kubernetes.quantity import whole
from tests.cluster.access import Cluster, Node
from tests.cluster.bed.layout import CONTROL
from tests.cluster.bed.machine import Machine
from tests.cluster.objects import pod
from tests.support.paths import ROOT

NAMESPACE = "kloister-system"
NAME = "kloister-webhook"
SIZE = "64Mi,64Mi"
_RESOURCES = ROOT / "deploy/helm/kloister/crds/confidentialnodes.yaml"
_PORT = 8443
BROKER = f"{CONTROL.address}:7443"


@dataclass(frozen=True, slots=True)
class Stack:
    """Platform and agent on one node; webhook and controller on the control machine.

    Attributes:
        epc: of the node, by NUMA node.
    """

    cluster: Cluster
    epc: str = SIZE

    @property
    def node(self) -> Node:
        """The node with EPC."""
        return self.cluster.node("confidential")

    @property
    def state(self) -> Path:
        """Of the simulated platform."""
        return self.node.disk / "platform"

    def install(self) -> None:
        """Start everything and wait until the node offers its EPC and quotes."""
        control = self._control  # before anything is made in a cluster that has none
        self.cluster.kubectl("create", "namespace", NAMESPACE)
        self.cluster.kubectl("label", "namespace", NAMESPACE, "kloister.dev/webhook=disabled")
        self.cluster.kubectl("apply", f"--filename={_RESOURCES}")
        self.cluster.apply(*_webhook())
        self._start(control, "webhook", "webhook", "--listen", f"0.0.0.0:{_PORT}", "--broker", BROKER)
        self._start(control, "controller", "controller")
        self._start(
            self.node.machine, "platform", "platform", "--state", self.state, KLOISTER_PLATFORM_EPC=_mib(self.epc)
        )
        self.start_agent()
        self.wait_offered()
        self.cluster.wait("the webhook's knowledge of the node", self._mutates)

    def wait_offered(self) -> None:
        """Wait until the node offers its EPC, blocks and devices, which come one by one, and its label says quotes."""
        blocks = len(node_blocks(parse_sizes(self.epc)))
        wanted = {EPC: total(parse_sizes(self.epc)), EPC_BLOCK: blocks, ENCLAVE: PLACES}
        self.cluster.wait(f"the node to offer {wanted}", lambda: self.offered == wanted)
        self.cluster.wait("the node's quotes", self._quotes)

    def _quotes(self) -> bool:
        return bool(self.cluster.get("node", self.node.name)["metadata"]["labels"].get(f"{GROUP}/quotes") == "ready")

    def uninstall(self) -> None:
        """End everything; the controller, which goes last, makes the node an ordinary one again."""
        for name in ("agent", "platform"):
            self.node.machine.stop(name)
        self.cluster.kubectl("delete", "--ignore-not-found", "mutatingwebhookconfiguration", NAME)
        self.cluster.kubectl("delete", "confidentialnodes", "--all")
        self.cluster.wait("an ordinary node", lambda: not self._tainted and not any(self.offered.values()))
        for name in ("webhook", "controller", "broker"):
            self._control.stop(name)
        self.cluster.kubectl("delete", "--ignore-not-found", f"--filename={_RESOURCES}")
        self.cluster.kubectl("delete", "--ignore-not-found", "namespace", NAMESPACE)

    @property
    def _tainted(self) -> bool:
        taints = self.cluster.get("node", self.node.name)["spec"].get("taints", ())
        return any(taint["key"] == TAINT for taint in taints)

    def start_broker(self) -> None:
        """Start a broker that judges the platform's quotes; its state is beside the platform's."""
        self._start(self._control, "broker", "broker", "--state", self.state, "--listen", BROKER)
        self.cluster.wait("the broker", (self.state / "broker" / "admin.sock").exists)

    def stop_broker(self) -> None:
        """End it; its state stays."""
        self._control.stop("broker")
        (self.state / "broker" / "admin.sock").unlink(missing_ok=True)

    def start_agent(self) -> None:
        """Start the node's agent."""
        control = self.state / "platform" / "control.sock"
        options = ("--simulate", self.epc, "--quotes", "/var/run/aesmd", "--platform", control)
        self._start(self.node.machine, "agent", "node", *options, "--node-name", self.node.name)

    @property
    def offered(self) -> dict[str, int]:
        """What the node offers of ours: bytes of EPC, its blocks, places for device nodes."""
        allocatable = self.cluster.get("node", self.node.name)["status"]["allocatable"]
        return {name: whole(allocatable.get(name, "0")) for name in (EPC, EPC_BLOCK, ENCLAVE)}

    @property
    def _control(self) -> Machine:
        return Machine(self.node.layout, CONTROL.name)

    def _start(self, machine: Machine, name: str, *words: str | Path, **more: str) -> None:
        environment = {"KUBECONFIG": str(self.node.layout.keys / "admin.json"), **more}
        machine.start(name, sys.executable, "-P", "-m", "kloister", "serve", *words, environment=environment)

    def _mutates(self) -> bool:
        """Whether the webhook gives a pod as many blocks of the node as it asks for."""
        asking = pod("trial", self.cluster.busybox, limits={"sgx.intel.com/epc": "10Mi"})
        words = ("create", "--namespace=default", "--dry-run=server", "--output=json", "--filename=-")
        made = json.loads(self.cluster.kubectl(*words, stdin=json.dumps(asking)))
        return bool(made["spec"]["containers"][0]["resources"]["limits"].get("sgx.intel.com/epc-block") == "10")


def _mib(sizes: str) -> str:
    return ",".join(str(section.bytes >> 20) for section in parse_sizes(sizes))


def _webhook() -> list[dict[str, Any]]:
    """The registration as the deployment files have it, and a service that leads to the control machine."""
    metadata = {"name": NAME, "namespace": NAMESPACE}
    port = {"name": "https", "port": 443, "targetPort": _PORT}
    subset = {"addresses": [{"ip": CONTROL.address}], "ports": [{"name": "https", "port": _PORT}]}
    disabled = {"matchExpressions": [{"key": "kloister.dev/webhook", "operator": "NotIn", "values": ["disabled"]}]}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    hook = {
        "name": "pods.kloister.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded", "timeoutSeconds": 5, "namespaceSelector": disabled, "rules": [rule],
        "clientConfig": {"service": {**metadata, "path": "/mutate"}},
    }  # fmt: skip
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": NAME}, "webhooks": [hook],
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [subset]},
    ]  # fmt: skip
