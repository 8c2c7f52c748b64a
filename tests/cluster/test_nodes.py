from __future__ import annotations

from typing import Any

from tests.cluster.access import Cluster
from tests.cluster.bed.layout import NODES
from tests.cluster.objects import pod

EPC = "sgx.intel.com/epc"


def test_both_nodes_are_ready(cluster: Cluster) -> None:
    for site in NODES:
        assert cluster.node(site.name).exec(["hostname"]).strip() == site.name
        cluster.wait_node(site.name)


def test_nodes_share_neither_processes_nor_network_nor_devices(cluster: Cluster) -> None:
    confidential, ordinary = (cluster.node(site.name) for site in NODES)
    confidential.exec(["mknod", "/dev/probe", "c", "1", "3"])
    try:
        assert "probe" in confidential.exec(["ls", "/dev"])
        assert "probe" not in ordinary.exec(["ls", "/dev"])
    finally:
        confidential.exec(["rm", "/dev/probe"])
    assert confidential.address in confidential.exec(["ip", "addr"])
    assert confidential.address not in ordinary.exec(["ip", "addr"])
    assert ordinary.exec(["cat", "/proc/1/comm"]).strip() == "init"


def test_a_request_of_what_no_node_has_stays_pending_and_says_why(cluster: Cluster) -> None:
    cluster.apply(pod("wants", cluster.busybox, limits={"example.com/nothing": "1"}), pod("plain", cluster.busybox))
    cluster.wait_ready("plain")
    cluster.wait_unscheduled("wants", "Insufficient example.com/nothing")


def test_capacity_in_a_nodes_status_schedules_and_outlives_kubelet(cluster: Cluster) -> None:
    node = cluster.node("confidential")
    cluster.patch_status("nodes", node.name, lambda it: it["status"]["capacity"].update({EPC: "64Gi"}))
    try:
        cluster.apply(pod("small", cluster.busybox, limits={EPC: "10Mi"}))
        cluster.wait_ready("small")
        assert cluster.get("pod", "small")["spec"]["nodeName"] == node.name
        cluster.restart_kubelet(node)
        assert cluster.get("node", node.name)["status"]["capacity"][EPC] == "64Gi"
    finally:
        cluster.patch_status("nodes", node.name, lambda it: it["status"]["capacity"].pop(EPC, None))


def test_a_restart_of_kubelet_leaves_pods_running(cluster: Cluster) -> None:
    node = cluster.node("ordinary")
    cluster.apply(pod("stays", cluster.busybox, nodeName=node.name))
    cluster.wait_ready("stays")
    before = _container(cluster, "stays")
    cluster.restart_kubelet(node)
    cluster.apply(pod("next", cluster.busybox, nodeName=node.name))
    cluster.wait_ready("stays", "next")  # the new kubelet has looked after the node's pods
    assert _container(cluster, "stays") == before
    assert before["restartCount"] == 0


def _container(cluster: Cluster, name: str) -> dict[str, Any]:
    """What tells one start of a pod's container from another; whether it is ready may be in doubt for a moment."""
    (status,) = cluster.get("pod", name)["status"]["containerStatuses"]
    return {field: status[field] for field in ("containerID", "imageID", "restartCount", "state", "lastState")}
