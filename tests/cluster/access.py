"""A cluster as the tests use it: the bed, or a user's own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kloister import clock
from tests.cluster.bed import bed, images
from tests.cluster.bed.door import open_door
from tests.cluster.bed.layout import NODES, Layout
from tests.cluster.bed.machine import Machine
from tests.cluster.bed.node import start_kubelet
from tests.cluster.bed.processes import PATIENCE, BedError, Found, run, wait_for
from tests.cluster.objects import pod

_PREFIX = "KLOISTER_CLUSTER_"
SETTINGS = {name.removeprefix(_PREFIX): value for name, value in os.environ.items() if name.startswith(_PREFIX)}
"""What the user says of a cluster of theirs; read here, since tests see no settings of the user's."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the bed: its processes can be stopped, programs run on it, its disk read."""

    layout: Layout
    name: str

    @property
    def machine(self) -> Machine:
        """Where programs are started that stay."""
        return Machine(self.layout, self.name)

    @property
    def disk(self) -> Path:
        """Everything that containers, kubelet and container runtime keep on the node."""
        return self.layout.node(self.name)

    @property
    def address(self) -> str:
        """On the network between the nodes."""
        return next(site.address for site in NODES if site.name == self.name)

    def exec(self, words: Sequence[str | Path]) -> str:
        """What a program of this machine prints when it runs on the node."""
        return self.machine.run(*words)

    def holding(self, *forms: bytes) -> list[str]:
        """Files on its disk with one of these; the platform is no part of the disk, its files are left out."""
        words = [word for form in forms for word in ("-e", form.decode())]
        command = ["grep", "-rlasF", "--exclude-dir=platform", *words, str(self.disk)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()

    def start_kubelet(self) -> None:
        """Start kubelet, which has been stopped."""
        site = next(site for site in NODES if site.name == self.name)
        start_kubelet(self.layout, site, bed.kubectl(self.layout).parent)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What tests may do with a cluster.

    Attributes:
        kubeconfig: the administrator's.
        client: kubectl.
        layout: the bed's; None for a user's cluster.
        namespace: of the test.
    """

    kubeconfig: Path
    client: Path
    layout: Layout | None
    namespace: str = "default"

    @property
    def busybox(self) -> str:
        """An image with busybox that the nodes have or can fetch."""
        return images.BUSYBOX if self.layout else SETTINGS.get("BUSYBOX", "busybox:1")

    def kubectl(self, *words: str | Path, stdin: str = "", seconds: float = PATIENCE) -> str:
        """What kubectl prints, in the test's namespace.

        Raises:
            BedError: it fails; the message has what it says.
        """
        noted = bed.options(self.layout)[1:] if self.layout else ()
        at = (f"--kubeconfig={self.kubeconfig}", *noted, f"--namespace={self.namespace}")
        return run(self.client, *at, *words, stdin=stdin, seconds=seconds, env=_environment())

    def get(self, *words: str) -> Any:
        """An object or a list as the API server has it."""
        return json.loads(self.kubectl("get", *words, "--output=json"))

    def apply(self, *documents: dict[str, Any]) -> None:
        """Create or change objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "--filename=-", stdin=json.dumps(items))

    def patch_status(self, kind: str, name: str, change: Callable[[Any], None]) -> None:
        """Change the status of a cluster's object, as a controller does."""
        path = f"/api/v1/{kind}/{name}"

        def replaced() -> str:
            document = json.loads(self.kubectl("get", "--raw", path))
            change(document)
            return self.kubectl("replace", "--raw", f"{path}/status", "--filename=-", stdin=json.dumps(document))

        self.wait(f"a new status of {name}, which others write too", replaced)

    def events(self, name: str, reason: str) -> list[str]:
        """The messages of an object's events of this reason."""
        selector = f"--field-selector=involvedObject.name={name},reason={reason}"
        return [item["message"] for item in self.get("events", selector)["items"]]

    def wait(self, what: str, condition: Callable[[], Found]) -> Found:
        """Ask until it holds; what it gave then. A server that is not there yet is asked again.

        Raises:
            BedError: it does not in time.
        """
        return wait_for(what, condition)

    def wait_ready(self, *names: str) -> None:
        """Wait for pods to be ready; since no pod has a probe, its program may not have done anything yet."""
        pods = [f"pod/{name}" for name in names]
        words = ("wait", "--for=condition=Ready", f"--timeout={PATIENCE:g}s")
        try:
            self.kubectl(*words, *pods, seconds=PATIENCE * len(pods) + 10)
        except BedError as error:
            raise BedError(f"{error}\n{self.kubectl('describe', *pods)}") from None

    def wait_printed(self, what: str, *lines: str) -> None:
        """Wait until a pod or job has printed this and nothing else."""

        def printed() -> bool:
            found = self.kubectl("logs", what).splitlines()
            if found != list(lines):
                raise BedError(f"it printed {found}")
            return True

        self.wait(f"{what} to print {lines}", printed)

    def wait_takes_pods(self) -> None:
        """Wait until a pod is admitted: the namespace's account is there, with its token, and every webhook answers."""
        trial = json.dumps(pod("trial", self.busybox))
        self.wait("a pod to be admitted", lambda: self.kubectl("create", "--dry-run=server", "-f", "-", stdin=trial))

    def restart_kubelet(self, node: Node, number: signal.Signals = signal.SIGTERM) -> None:
        """End a node's kubelet by this signal, start it again and wait until the new one says that it is ready."""
        node.machine.stop("kubelet", number)
        ended = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        node.start_kubelet()
        self.wait_node(node.name, ended)

    def wait_node(self, node: str, after: str = "") -> None:
        """Wait until a node says that it is ready, by a heartbeat after this time, and pods may be put on it.

        A kubelet that has just started says first that it is not: it has not seen its container runtime yet.
        """

        def ready() -> bool:
            found = self.get("node", node)
            said = next(item for item in found["status"]["conditions"] if item["type"] == "Ready")
            taints = [taint["key"] for taint in found["spec"].get("taints", ())]
            untainted = not any(key.startswith("node.kubernetes.io/") for key in taints)
            return bool(said["status"] == "True" and said["lastHeartbeatTime"] > after and untainted)

        self.wait(f"node {node} to be ready", ready)

    def wait_ended(self, name: str) -> None:
        """Wait until a pod has ended well."""
        self.wait(f"the end of {name}", lambda: self.phase(name) == "Succeeded")

    def wait_unscheduled(self, name: str, reason: str) -> None:
        """Wait until the scheduler says of a pod that there is no place for it, for this reason among others."""
        said = f"{name} to wait for a place: {reason}"
        self.wait(said, lambda: any(reason in line for line in self.events(name, "FailedScheduling")))
        assert self.phase(name) == "Pending"

    def phase(self, pod: str) -> str:
        """Pending, Running, Succeeded or Failed."""
        return str(self.get("pod", pod)["status"]["phase"])

    def ready(self, selector: str) -> set[str]:
        """The names of pods that are ready and are not being deleted."""
        return {
            item["metadata"]["name"]
            for item in self.get("pods", f"--selector={selector}")["items"]
            if "deletionTimestamp" not in item["metadata"]
            and all(status["ready"] for status in item["status"].get("containerStatuses") or [{"ready": False}])
        }

    @property
    def minor(self) -> int:
        """Of its version 1.MINOR."""
        version = json.loads(self.kubectl("version", "--output=json"))["serverVersion"]
        return int(version["minor"].rstrip("+"))

    def bearing(self, token: str, folder: Path) -> Cluster:
        """The same cluster for who has this token and nothing else."""
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--output=json"))
        config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
        place = folder / "kubeconfig"
        place.touch(mode=0o600)
        place.write_text(json.dumps(config))
        return replace(self, kubeconfig=place)

    def import_image(self, archive: Path, name: str, *nodes: str) -> None:
        """Give an image (`oci-archive:`) to nodes of the bed, all by default; `name` ends in the archive's own tag."""
        layout = self._bed()
        for node in nodes or [site.name for site in NODES]:
            images.load(layout, node, archive, name)

    def node(self, name: str) -> Node:
        """`confidential` or `ordinary`; skips the test on a cluster that is not the bed."""
        return Node(self._bed(), name)

    def door(self, host: str, port: int) -> int:
        """A port of this machine's loopback that leads to an address of the bed."""
        return open_door(self._bed(), host, port)

    def etcd(self) -> bytes:
        """The whole database of the bed, its log included."""
        folder = self._bed().state / "etcd"
        return self.wait("etcd not to rename a file while it is read", lambda: _content(folder))

    def _bed(self) -> Layout:
        if self.layout is None:
            pytest.skip("needs the nodes of `make cluster`: this is the cluster of KUBECONFIG")
        return self.layout


def fetch(url: str, context: ssl.SSLContext | None = None) -> str:
    """What an HTTP server of the cluster answers through a door.

    Raises:
        BedError: there is no answer, or none of success; a pod is Ready before it listens.
    """
    try:
        with urllib.request.urlopen(url, timeout=30, context=context) as response:  # noqa: S310 (an address of the test's)
            return str(response.read().decode())
    except (OSError, http.client.HTTPException) as error:
        raise BedError(f"{url}: {error}") from None


def _content(folder: Path) -> bytes:
    try:
        return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())
    except FileNotFoundError as error:
        raise BedError(str(error)) from None


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
