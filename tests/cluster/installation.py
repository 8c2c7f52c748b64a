"""Kloister installed as users install it: our images on the nodes, `kloister kube install`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.images.build import Builder
from deploy.images.roles import ROLES
from tests.cluster.access import Cluster, Node
from tests.cluster.bed.processes import run

NAMESPACE = "kloister-system"
LABEL = "kloister.dev/simulate"
_REGISTRY, _TAG = "bed.invalid/", "test"


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything as pods; the confidential node is the simulated one."""

    cluster: Cluster

    @property
    def node(self) -> Node:
        """The node with EPC."""
        return self.cluster.node("confidential")

    @property
    def state(self) -> Path:
        """Of the simulated platform, as this machine sees it."""
        return Path(f"/proc/{self.node.machine.first}/root/run/kloister/platform")

    def bring_images(self, scratch: Path) -> None:
        """Build an image per role and give it to the nodes."""
        builder = Builder(scratch / "layers")
        for name, role in ROLES.items():
            archive = scratch / f"{name}.tar"
            builder.build(role, f"oci-archive:{archive}:{_TAG}")
            self.cluster.import_image(archive, f"{_REGISTRY}kloister-{name}:{_TAG}")

    def install(self, size: str) -> None:
        """With so much EPC on the confidential node; returns when everything is ready."""
        self.cluster.kubectl("label", "node", self.node.name, f"{LABEL}=true", "--overwrite")
        self.kube("install", "--registry", _REGISTRY, "--tag", _TAG, "--simulate", size)

    def uninstall(self) -> None:
        """The namespace goes too."""
        self.kube("uninstall")
        self.cluster.kubectl("label", "node", self.node.name, f"{LABEL}-")
        self.cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=120)

    def kube(self, *words: str) -> str:
        """What `kloister kube` prints."""
        path = f"{self.cluster.client.parent}:{os.environ['PATH']}"
        settings = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig), "PATH": path}
        return run(sys.executable, "-P", "-m", "kloister", "kube", *words, env=settings, seconds=240)

    def epc(self) -> str:
        """What the node offers; `0` for nothing."""
        return str(self.cluster.get("node", self.node.name)["status"]["allocatable"].get("sgx.intel.com/epc", "0"))
