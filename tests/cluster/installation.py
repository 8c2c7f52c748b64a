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
from tests.cluster.access import Cluster, Node
from tests.cluster.bed.processes import run

NAMESPACE = "kloister-system"
LABEL = "kloister.dev/simulate"
_REGISTRY, _TAG = "bed.invalid/", "test"
_REGISTRY_SETTING = "KLOISTER_CLUSTER_REGISTRY"


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything as pods; the confidential node is the simulated one."""

    cluster: Cluster

    @property
    def name(self) -> str:
        """Of the node with EPC: on a user's cluster KLOISTER_CLUSTER_NODE, or the first that takes every pod."""
        if self.cluster.layout:
            return "confidential"
        free = (item for item in self.cluster.get("nodes")["items"] if "taints" not in item["spec"])
        return os.environ.get("KLOISTER_CLUSTER_NODE") or str(next(free)["metadata"]["name"])

    @property
    def node(self) -> Node:
        """The node with EPC, on the bed."""
        return self.cluster.node(self.name)

    @property
    def state(self) -> Path:
        """Of the simulated platform, as this machine sees it."""
        return Path(f"/proc/{self.node.machine.first}/root/run/kloister/platform")

    @property
    def registry(self) -> str:
        """HOST/PATH/ of our images."""
        return _REGISTRY if self.cluster.layout else os.environ[_REGISTRY_SETTING]

    @property
    def tag(self) -> str:
        """Of our images."""
        return _TAG if self.cluster.layout else os.environ.get("KLOISTER_CLUSTER_TAG", kloister.__version__)

    def bring_images(self, scratch: Path) -> None:
        """Build an image per role and give it to the nodes; those of a user's cluster get them from its registry."""
        if self.cluster.layout is None:
            if not os.environ.get(_REGISTRY_SETTING):
                pytest.skip(
                    f"set {_REGISTRY_SETTING}: HOST/PATH/ of a registry to which the images of `make images` went"
                )
            return
        builder = Builder(scratch / "layers")
        for name, role in ROLES.items():
            archive = scratch / f"{name}.tar"
            builder.build(role, f"oci-archive:{archive}:{_TAG}")
            self.cluster.import_image(archive, f"{_REGISTRY}kloister-{name}:{_TAG}")

    def install(self, size: str) -> None:
        """With so much EPC on the confidential node; returns when everything is ready."""
        self.label()
        self.kube("install", "--registry", self.registry, "--tag", self.tag, "--simulate", size)

    def label(self) -> None:
        """Say that the confidential node is to be a simulated one."""
        self.cluster.kubectl("label", "node", self.name, f"{LABEL}=true", "--overwrite")

    def uninstall(self) -> None:
        """The namespace goes too."""
        self.kube("uninstall")
        self.cluster.kubectl("label", "node", self.name, f"{LABEL}-")
        self.cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=120)

    def kube(self, *words: str) -> str:
        """What `kloister kube` prints."""
        return self.program(sys.executable, "-P", "-m", "kloister", "kube", *words)

    def program(self, *words: str) -> str:
        """What a program prints that is given the cluster as users give it."""
        path = f"{self.cluster.client.parent}:{os.environ['PATH']}"
        settings = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig), "PATH": path}
        return run(*words, env=settings, seconds=300)

    def epc(self) -> str:
        """What the node offers; `0` for nothing."""
        return str(self.cluster.get("node", self.name)["status"]["allocatable"].get("sgx.intel.com/epc", "0"))
