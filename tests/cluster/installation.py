"""Kloister installed as users install it: our images on the nodes, `kloister kube install`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import kloister
from deploy.images.build import Builder
from deploy.images.roles import ROLES
from kloister.kubernetes.node.epc import parse_sizes, total
from kloister.kubernetes.quantity import whole
from tests.cluster.access import SETTINGS, Cluster, Node
from tests.cluster.bed.processes import run

NAMESPACE = "kloister-system"
LABEL = "kloister.dev/simulate"


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything as pods; one node is a simulated one.

    Attributes:
        name: of that node.
        registry: HOST/PATH/ of our images.
        tag: theirs.
    """

    cluster: Cluster
    name: str
    registry: str
    tag: str

    @classmethod
    def on(cls, cluster: Cluster) -> Installation:
        """What the bed has; on a user's cluster what the settings say, and the first node that takes every pod."""
        if cluster.layout:
            return cls(cluster, "confidential", "bed.invalid/", "test")
        if "REGISTRY" not in SETTINGS:
            pytest.skip("set KLOISTER_CLUSTER_REGISTRY: HOST/PATH/ of a registry to which `make images` went")
        free = [item["metadata"]["name"] for item in cluster.get("nodes")["items"] if "taints" not in item["spec"]]
        name = SETTINGS.get("NODE") or next(iter(free), "")
        if not name:
            pytest.skip("set KLOISTER_CLUSTER_NODE: every node of the cluster has taints")
        return cls(cluster, name, SETTINGS["REGISTRY"], SETTINGS.get("TAG", kloister.__version__))

    @property
    def node(self) -> Node:
        """The node with EPC, on the bed."""
        return self.cluster.node(self.name)

    @property
    def state(self) -> Path:
        """Of the simulated platform, as this machine sees it."""
        return Path(f"/proc/{self.node.machine.first}/root/run/kloister/platform")

    def bring_images(self, scratch: Path) -> None:
        """Build an image per role and give it to the nodes of the bed; others get them from their registry."""
        builder = Builder(scratch / "layers")
        for name, role in ROLES.items() if self.cluster.layout else ():
            archive = scratch / f"{name}.tar"
            builder.build(role, f"oci-archive:{archive}:{self.tag}")
            self.cluster.import_image(archive, f"{self.registry}kloister-{name}:{self.tag}")

    def install(self, size: str) -> None:
        """With so much EPC on the confidential node; returns when everything is ready."""
        self.label()
        self.kube("install", "--registry", self.registry, "--tag", self.tag, "--simulate", size, "--timeout", "600")
        self.wait_in_order(size)

    def wait_in_order(self, size: str) -> None:
        """Wait until `kube check` finds nothing wrong and the node offers this EPC: a while after pods are ready."""
        self.cluster.wait("a check that finds nothing wrong", lambda: self.kube("check"))
        self.cluster.wait(f"{size} of EPC", lambda: whole(self.epc()) == total(parse_sizes(size)))

    def label(self) -> None:
        """Say that the confidential node is to be a simulated one."""
        self.cluster.kubectl("label", "node", self.name, f"{LABEL}=true", "--overwrite")

    def uninstall(self) -> None:
        """The namespace goes too."""
        self.kube("uninstall")
        self.cluster.kubectl("label", "node", self.name, f"{LABEL}-")
        self.cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=600)

    def kube(self, *words: str) -> str:
        """What `kloister kube` prints."""
        return self.program(sys.executable, "-P", "-m", "kloister", "kube", *words)

    def program(self, *words: str) -> str:
        """What a program prints that is given the cluster as users give it."""
        path = f"{self.cluster.client.parent}:{os.environ['PATH']}"
        settings = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig), "PATH": path}
        return run(*words, env=settings, seconds=900)

    def epc(self) -> str:
        """What the node offers; `0` for nothing."""
        return str(self.cluster.get("node", self.name)["status"]["allocatable"].get("sgx.intel.com/epc", "0"))
