from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.access import Cluster, fetch
from tests.cluster.bed.processes import BedError
from tests.cluster.objects import deployment, pod, service

SERVER = "echo started; mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
ASK = ("timeout", "10", "wget", "-qO-", "http://web/")


def test_logs_and_commands_reach_a_pod(cluster: Cluster) -> None:
    cluster.apply(pod("one", cluster.busybox))
    cluster.wait_ready("one")
    cluster.wait_printed("one", "started")
    assert cluster.kubectl("exec", "one", "--", "hostname") == "one\n"
    with pytest.raises(BedError, match="code 3"):
        cluster.kubectl("exec", "one", "--", "sh", "-c", "exit 3")


def test_a_service_spreads_over_pods_by_its_name_within_and_its_port_outside(cluster: Cluster) -> None:
    cluster.apply(deployment("web", cluster.busybox, SERVER, 2), service("web", 80, 8080, "NodePort"))
    cluster.apply(pod("client", cluster.busybox))
    names = _wait_for_pods(cluster, 2)
    cluster.wait_ready("client")
    assert _answering(cluster, names, lambda: cluster.kubectl("exec", "client", "--", *ASK)) == names
    port = cluster.get("service", "web")["spec"]["ports"][0]["nodePort"]
    door = cluster.door(cluster.node("ordinary").address, port)
    assert _answering(cluster, names, lambda: fetch(f"http://127.0.0.1:{door}/")) == names


def _answering(cluster: Cluster, names: set[str], ask: Callable[[], str]) -> set[str]:
    """Who has answered when each of these has: a new service is known everywhere a moment later, and draws lots."""
    seen: set[str] = set()

    def every() -> bool:
        seen.add(ask().strip())
        return seen >= names

    cluster.wait(f"an answer of each of {names}", every)
    return seen


def test_a_deployment_is_scaled_and_replaces_a_deleted_pod(cluster: Cluster) -> None:
    cluster.apply(deployment("web", cluster.busybox, SERVER, 1))
    for replicas in (3, 1):
        cluster.kubectl("scale", "deployment/web", f"--replicas={replicas}")
        last = _wait_for_pods(cluster, replicas)
    (old,) = last
    cluster.kubectl("delete", "pod", old)
    cluster.wait("another pod", lambda: cluster.ready("app=web") - {old})


def _wait_for_pods(cluster: Cluster, number: int) -> set[str]:
    def ready() -> set[str]:
        found = cluster.ready("app=web")
        return found if len(found) == number else set()

    return cluster.wait(f"{number} pods", ready)


def test_a_claim_of_storage_is_bound_and_keeps_what_is_written(cluster: Cluster) -> None:
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }  # fmt: skip
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    writer = pod("writer", cluster.busybox, "echo kept > /data/file", volumes=volumes, restartPolicy="Never")
    reader = pod("reader", cluster.busybox, "cat /data/file", volumes=volumes, restartPolicy="Never")
    for name, one in {"writer": writer, "reader": reader}.items():
        one["spec"]["containers"][0]["volumeMounts"] = mounts
        cluster.apply(claim, one)
        cluster.wait_ended(name)
    cluster.wait_printed("reader", "kept")
