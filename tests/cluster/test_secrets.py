from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.serve.demo import tamper
from tests.cluster.access import Cluster
from tests.cluster.clinic import IMAGE, PASSWORD, PORT, Clinic
from tests.cluster.objects import service
from tests.cluster.stack import NAMESPACE, Stack

OTHER, CHANGED = "bed.invalid/other-clinic:1", "bed.invalid/changed-clinic:1"


@pytest.fixture(scope="module")
def clinic(any_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """Kloister with a broker on the bed, and the clinic for it."""
    stack = Stack(replace(any_cluster, namespace=NAMESPACE))
    try:
        stack.install()
        stack.start_broker()
        made = Clinic(stack, tmp_path_factory.mktemp("clinic"))
        made.make()
        yield made
    finally:
        stack.uninstall()


def test_a_converted_deployment_gets_its_secrets_is_scaled_and_serves_tls(clinic: Clinic, cluster: Cluster) -> None:
    cluster.apply(clinic.objects(1), service("clinic", 443, PORT, "NodePort"))
    cluster.kubectl("rollout", "status", "deployment/clinic", "--timeout=60s", seconds=70)
    port = cluster.get("service", "clinic")["spec"]["ports"][0]["nodePort"]
    cluster.wait("an answer", lambda: clinic.answers(cluster, port), 20)
    cluster.kubectl("scale", "deployment/clinic", "--replicas=3")
    cluster.wait("three pods", lambda: len(cluster.ready("app=clinic")) == 3)
    cluster.kubectl("delete", "pod", min(cluster.ready("app=clinic")))
    cluster.wait("three pods again", lambda: len(cluster.ready("app=clinic")) == 3)
    cluster.wait("an answer", lambda: clinic.answers(cluster, port), 20)
    _nowhere(cluster)


def _nowhere(cluster: Cluster) -> None:
    """The secret is in no object, not in etcd, no log and on no node's disk."""
    forms = [PASSWORD.encode(), base64.b64encode(PASSWORD.encode())]
    shown = cluster.kubectl("get", "all,secrets,configmaps,events", "--all-namespaces", "--output=yaml")
    logs = "".join(cluster.kubectl("logs", name) for name in cluster.ready("app=clinic"))
    for place, content in {"objects": shown.encode(), "etcd": cluster.etcd(), "logs": logs.encode()}.items():
        assert IMAGE.encode() in content or place == "logs", place
        assert not any(form in content for form in forms), place
    for node in ("confidential", "ordinary"):
        disk = cluster.node(node).disk
        assert _holding(disk, b"kubelet"), "the search finds what is there"
        assert _holding(disk, *forms) == []


def _holding(disk: Path, *forms: bytes) -> list[str]:
    """Files with these bytes; those of the platform, which is no part of the node's disk, are left out."""
    words = [word for form in forms for word in ("-e", form.decode())]
    command = ["grep", "-rlasF", "--exclude-dir=platform", *words, str(disk)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def test_another_measurement_gets_nothing_and_says_why(clinic: Clinic, cluster: Cluster) -> None:
    clinic.convert("other", "--writable", "/scratch")
    clinic.bring("other", OTHER)
    cluster.apply(clinic.objects(1, OTHER))
    assert "measurement-not-allowed" in _why(cluster)


def test_a_changed_image_does_not_start_and_says_why(clinic: Clinic, cluster: Cluster) -> None:
    changed = tamper.Layout(clinic.folder / "clinic", clinic.folder / "changed")
    tamper.edit(changed, "app/clinic/model.json", tamper.change_byte("app/clinic/model.json"))
    clinic.bring("changed", CHANGED)
    cluster.apply(clinic.objects(1, CHANGED))
    assert "file-changed" in _why(cluster)


def test_a_platform_of_revoked_tcb_gets_nothing_and_says_why(clinic: Clinic, cluster: Cluster) -> None:
    clinic.set_tcb("Revoked")
    try:
        cluster.apply(clinic.objects(1))
        assert "tcb-" in _why(cluster)
    finally:
        clinic.set_tcb("UpToDate")


def _why(cluster: Cluster) -> str:
    """The termination message of the only pod's container, when it has ended."""

    def ended() -> str:
        statuses = [
            status for item in cluster.get("pods")["items"] for status in item["status"].get("containerStatuses", ())
        ]
        states = [status[key].get("terminated") for status in statuses for key in ("state", "lastState")]
        return next((str(state.get("message")) for state in states if state), "")

    cluster.wait("the container's end", ended)
    return ended()
