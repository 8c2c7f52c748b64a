"""The clinic, converted for a broker on the bed: a confidential web service with secrets of which one is known."""

from __future__ import annotations

import json
import ssl
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.access import Cluster, fetch
from tests.cluster.objects import deployment
from tests.cluster.stack import Stack
from tests.support.cli import kloister

IMAGE = "bed.invalid/confidential-clinic:1"
PASSWORD = "db-3f9c1c55e0b74b1d8a61"
EPC = {"sgx.intel.com/epc": "40Mi"}
PORT = 8443
_PLACES = ("/run", "/tmp", "/etc/tls")  # noqa: S108 (in the container)
_POLICY = """\
apiVersion: kloister.dev/v1
kind: Policy
metadata: {namespace: clinic, name: inference}
attestation:
  any: [{sgx: {mrenclave: "@MRENCLAVE@"}}]
  simulated: allow
secrets:
  - {name: db, kind: value}
  - {name: ca, kind: x509-ca, commonName: Clinic CA}
  - {name: server, kind: x509, issuer: ca, dns: [localhost]}
services:
  - name: app
    environment: {DB_PASSWORD: "{{ secrets.db.value }}", HOST: "0.0.0.0"}
    files:
      - {path: /etc/tls/tls.key, mode: "0400", owner: 1000, content: "{{ secrets.server.key }}"}
      - {path: /etc/tls/tls.crt, mode: "0444", content: "{{ secrets.server.certificate }}"}
"""


@dataclass(frozen=True, slots=True)
class Clinic:
    """The image on the nodes, its policy approved.

    Attributes:
        folder: with the plain image's layout and the converted archive.
    """

    stack: Stack
    folder: Path

    def make(self) -> None:
        """Convert it, approve its policy, upload the secret."""
        (self.folder / "template.yaml").write_text(_POLICY)
        (self.folder / "password").write_text(PASSWORD)
        self._run("image", "sample", "clinic", f"oci:{self.folder}/plain:1")
        self.convert("clinic")
        self._run("policy", "apply", str(next(self.folder.glob("*.policy.yaml"))), *self._at)
        self._run("secret", "set", "clinic/inference", "db", "--file", str(self.folder / "password"), *self._at)
        self.bring("clinic", IMAGE)

    def convert(self, name: str, *options: str) -> None:
        """Convert it to the layout `NAME`."""
        source, target = f"oci:{self.folder}/plain:1", f"oci:{self.folder}/{name}:1"
        policy = ("--policy", "clinic/inference", "--policy-template", str(self.folder / "template.yaml"))
        writable = ("--writable", "/etc/tls")
        self._run("convert", source, target, *policy, *writable, "--simulated", *options, *self._at)

    def bring(self, name: str, image: str) -> None:
        """Give the nodes the image of the layout `NAME`."""
        archive = self.folder / f"{name}.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(self.folder / name, ".")
        self.stack.cluster.import_image(archive, image)

    def set_tcb(self, status: str) -> None:
        """What the platform's maker says of its security from now on; a new broker has no older answer in mind."""
        self._run("simulator", "tcb-recovery", status, *self._at)
        self.stack.stop_broker()
        self.stack.start_broker()

    def objects(self, replicas: int, image: str = IMAGE) -> dict[str, Any]:
        """A deployment of it."""
        document = deployment("clinic", image, "", replicas)
        spec = document["spec"]["template"]["spec"]
        container = spec["containers"][0]
        del container["command"]
        names = [place.strip("/").replace("/", "-") for place in _PLACES]
        mounts = [{"name": name, "mountPath": place} for name, place in zip(names, _PLACES, strict=True)]
        locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
        container |= {"resources": {"limits": EPC}, "volumeMounts": mounts, "securityContext": locked}
        spec["volumes"] = [{"name": name, "emptyDir": {"medium": "Memory"}} for name in names]
        spec["automountServiceAccountToken"] = False
        spec["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        return document

    def ask(self, cluster: Cluster, node_port: int) -> dict[str, Any]:
        """What the service says about itself to a client outside that trusts the policy's CA only."""
        door = cluster.door(self.stack.node.address, node_port)
        shown = kloister("secret", "show", "clinic/inference", "ca", "--public", *self._at)
        context = ssl.create_default_context(cadata=shown.out)
        return dict(json.loads(fetch(f"https://localhost:{door}/health", context)))

    def answers(self, cluster: Cluster, node_port: int) -> bool:
        """Whether the service says that it is well."""
        try:
            return bool(self.ask(cluster, node_port)["status"] == "ok")
        except OSError:  # it is Ready before it listens
            return False

    @property
    def _at(self) -> tuple[str, str]:
        return ("--state", str(self.stack.state))

    def _run(self, *words: str) -> None:
        done = kloister(*words)
        assert done.code == 0, done
