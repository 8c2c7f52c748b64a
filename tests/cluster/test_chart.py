"""The chart on a cluster, by helm itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kloister.kubernetes.names import TAINT
from kloister.kubernetes.quantity import whole
from tests.cluster.access import Cluster
from tests.cluster.bed.processes import BedError
from tests.cluster.installation import NAMESPACE, Installation
from tests.cluster.objects import pod
from tests.deploy.rendering import CHART, program

_RELEASE = ("kloister", f"--namespace={NAMESPACE}")
_WAIT = ("--wait", "--timeout=600s")


@pytest.fixture(scope="module")
def charted(installation: Installation) -> Iterator[Installation]:
    """Everything installed by the chart."""
    helm, cluster = program("helm"), installation.cluster
    installation.label()
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("label", "namespace", NAMESPACE, "kloister.dev/webhook=disabled")  # for servers before 1.22
    settings = {"images.registry": installation.registry, "images.tag": installation.tag, "simulate.enabled": "true"}
    sets = [f"--set={name}={value}" for name, value in settings.items()]
    try:
        installation.program(helm, "install", *_RELEASE, str(CHART), *sets, _size("64Mi,64Mi"), *_WAIT)
        yield installation
    finally:
        installation.uninstall()


def _size(epc: str) -> str:
    return "--set=simulate.size=" + epc.replace(",", r"\,")


def test_it_installs_upgrades_and_uninstalls(charted: Installation, cluster: Cluster) -> None:
    charted.wait_in_order("64Mi,64Mi")
    cluster.apply(pod("asks", cluster.busybox, limits={"sgx.intel.com/epc": "10Mi"}))
    cluster.wait_ready("asks")
    _upgrade(charted)
    _uninstall(charted)


def _upgrade(charted: Installation) -> None:
    size = _size("64Mi,32Mi")
    charted.program(program("helm"), "upgrade", *_RELEASE, str(CHART), "--reuse-values", size, *_WAIT)
    charted.wait_in_order("64Mi,32Mi")


def _uninstall(charted: Installation) -> None:
    """As the manual says: agents and reports first, so that the controller clears the nodes."""
    cluster = replace(charted.cluster, namespace=NAMESPACE)
    cluster.kubectl("delete", "daemonset/kloister-node", "--cascade=foreground")
    cluster.kubectl("delete", "confidentialnodes", "--all")
    cluster.wait("an ordinary node", lambda: not _marked(cluster, charted.name))
    charted.program(program("helm"), "uninstall", *_RELEASE, "--timeout=600s")
    kinds = "deployments,statefulsets,daemonsets,services"
    cluster.wait("an empty namespace", lambda: cluster.get(kinds)["items"] == [])
    with pytest.raises(BedError, match="not found"):
        cluster.get("clusterrole", "kloister-controller")


def _marked(cluster: Cluster, node: str) -> bool:
    found = cluster.get("node", node)
    return TAINT in str(found["spec"].get("taints")) or whole(found["status"]["capacity"].get(TAINT, "0")) > 0
