"""An application with secrets from the broker: its image and policy, converted, on the nodes, as a deployment."""

from __future__ import annotations

import ssl
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.access import Cluster
from tests.cluster.objects import deployment, service
from tests.cluster.stack import Stack
from tests.support.cli import kloister

_HEAD = """\
apiVersion: kloister.dev/v1
kind: Policy
metadata: {namespace: @NAMESPACE@, name: @NAME@}
attestation:
  any: [{sgx: {mrenclave: "@MRENCLAVE@"}}]
  simulated: allow
"""


@dataclass(frozen=True, slots=True)
class Application:
    """What is converted.

    Attributes:
        name: of the deployment and its service.
        policy: NAMESPACE/NAME of its policy.
        released: the policy's secrets and services.
        make: writes the plain image to `oci:DIR:1`.
        port: that it listens on.
        places: where memory is mounted.
        writable: those of them that the image does not say to be so.
        uploaded: the values of the secrets that the broker does not make.
        epc: that a pod asks for.
    """

    name: str
    policy: str
    released: str
    make: Callable[[str], object]
    port: int
    places: tuple[str, ...]
    writable: tuple[str, ...] = ()
    uploaded: Mapping[str, str] = field(default_factory=dict, repr=False)
    epc: str = "40Mi"

    @property
    def image(self) -> str:
        """On the nodes."""
        return f"bed.invalid/confidential-{self.name}:1"


@dataclass(frozen=True, slots=True)
class Converted(ABC):
    """An application whose image is on the nodes and whose policy is approved.

    Attributes:
        folder: with the layouts of the plain and of converted images.
    """

    stack: Stack
    application: Application
    folder: Path

    def prepare(self) -> None:
        """Convert it, approve its policy, upload its secrets."""
        self.application.make(f"oci:{self.folder}/plain:1")
        namespace, _, name = self.application.policy.partition("/")
        template = _HEAD.replace("@NAMESPACE@", namespace).replace("@NAME@", name) + self.application.released
        (self.folder / "template.yaml").write_text(template)
        self.convert("converted")
        self._run("policy", "apply", str(next(self.folder.glob("*.policy.yaml"))), *self._at)
        for secret, value in self.application.uploaded.items():
            (self.folder / "value").write_text(value)
            self._run("secret", "set", self.application.policy, secret, "--file", str(self.folder / "value"), *self._at)
        self.bring("converted", self.application.image)

    def convert(self, name: str, *options: str) -> None:
        """Convert it to the layout `NAME`."""
        source, target = f"oci:{self.folder}/plain:1", f"oci:{self.folder}/{name}:1"
        template = str(self.folder / "template.yaml")
        policy = ("--policy", self.application.policy, "--policy-template", template)
        writable = [word for place in self.application.writable for word in ("--writable", place)]
        self._run("convert", source, target, *policy, *writable, "--simulated", *options, *self._at)

    def bring(self, name: str, image: str) -> None:
        """Give the confidential node the image of the layout `NAME`; no other runs it."""
        archive = self.folder / f"{name}.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(self.folder / name, ".")
        self.stack.cluster.import_image(archive, image, self.stack.node.name)

    def objects(self, replicas: int, image: str = "") -> list[dict[str, Any]]:
        """A deployment of it, and a service in front."""
        document = deployment(self.application.name, image or self.application.image, "", replicas)
        spec = document["spec"]["template"]["spec"]
        container = spec["containers"][0]
        del container["command"]
        names = [place.strip("/").replace("/", "-") for place in self.application.places]
        mounts = [{"name": name, "mountPath": at} for name, at in zip(names, self.application.places, strict=True)]
        locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
        limits = {"sgx.intel.com/epc": self.application.epc}
        container |= {"resources": {"limits": limits}, "volumeMounts": mounts, "securityContext": locked}
        spec["volumes"] = [{"name": name, "emptyDir": {"medium": "Memory"}} for name in names]
        spec["automountServiceAccountToken"] = False
        spec["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        return [document, service(self.application.name, self.application.port, self.application.port, "NodePort")]

    def door(self, cluster: Cluster) -> int:
        """A port of this machine's loopback that leads to the service's port of the node."""
        port = cluster.get("service", self.application.name)["spec"]["ports"][0]["nodePort"]
        return cluster.door(self.stack.node.address, port)

    @abstractmethod
    def answers(self, door: int) -> bool:
        """Whether it serves as it should at this port of the loopback. Raises `BedError` where nobody answers."""

    def trusting(self, authority: str) -> ssl.SSLContext:
        """A client outside that trusts this authority of the policy only."""
        shown = kloister("secret", "show", self.application.policy, authority, "--public", *self._at)
        return ssl.create_default_context(cadata=shown.out)

    @property
    def _at(self) -> tuple[str, str]:
        return ("--state", str(self.stack.state))

    def _run(self, *words: str) -> None:
        done = kloister(*words)
        assert done.code == 0, done
