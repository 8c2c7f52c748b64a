from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.cluster.access import Cluster
from tests.cluster.clinic import IMAGE, PASSWORD, PORT, Clinic
from tests.cluster.objects import service
from tests.cluster.stack import NAMESPACE, Stack


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
    cluster.wait("an answer", lambda: clinic.ask(cluster, port)["status"] == "ok", 20)
    cluster.kubectl("scale", "deployment/clinic", "--replicas=3")
    cluster.wait("three pods", lambda: len(cluster.ready("app=clinic")) == 3)
    cluster.kubectl("delete", "pod", min(cluster.ready("app=clinic")))
    cluster.wait("three pods again", lambda: len(cluster.ready("app=clinic")) == 3)
    assert clinic.ask(cluster, port)["status"] == "ok"
    _nowhere(cluster, clinic)


def _nowhere(cluster: Cluster, clinic: Clinic) -> None:
    """The secret is in no object, not in etcd, no log and on no node's disk."""
    forms = [PASSWORD.encode(), base64.b64encode(PASSWORD.encode())]
    shown = cluster.kubectl("get", "all,secrets,configmaps,events", "--all-namespaces", "--output=yaml")
    logs = "".join(cluster.kubectl("logs", name) for name in cluster.ready("app=clinic"))
    for place, content in {"objects": shown.encode(), "etcd": cluster.etcd(), "logs": logs.encode()}.items():
        assert IMAGE.encode() in content or place == "logs", place
        assert not any(form in content for form in forms), place
    broker = clinic.stack.state
    files = [file for file in clinic.stack.node.disk.rglob("*") if file.is_file() and not file.is_relative_to(broker)]
    assert len(files) > 100
    assert [file for file in files if any(form in file.read_bytes() for form in forms)] == []


def test_another_measurement_gets_nothing_and_says_why(clinic: Clinic, cluster: Cluster) -> None:
    clinic.convert("other", "--writable", "/scratch")
    name = "bed.invalid/other-clinic:1"
    cluster.import_image(clinic.folder / "other.tar", name)
    cluster.apply(clinic.objects(1, name))
    assert "measurement-not-allowed" in _why(cluster)


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
