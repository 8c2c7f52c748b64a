from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.kubernetes.quantity import whole
from tests.cluster.access import Cluster
from tests.cluster.installation import LABEL, NAMESPACE, Installation
from tests.cluster.objects import pod
from tests.cluster.quoting import judged, quote_from
from tests.cluster.test_confidential_node import EPC, GIVEN, LOOK, clinic

__all__ = ["clinic"]
pytestmark = pytest.mark.timeout(1200)  # six images are built first, a minute and a half on an idle core


@pytest.fixture(scope="module")
def installation(any_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Everything installed by `kloister kube install`."""
    installation = Installation(any_cluster)
    installation.bring_images(tmp_path_factory.mktemp("images"))
    try:
        installation.install("64Mi,64Mi")
        yield installation
    finally:
        installation.uninstall()


def test_the_check_finds_nothing_wrong(installation: Installation) -> None:
    lines = installation.kube("check").splitlines()
    assert lines
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert installation.node.name in installation.kube("status")


def test_installed_again_it_stays_as_it_is(installation: Installation, any_cluster: Cluster) -> None:
    before = _agent(any_cluster)
    installation.install("64Mi,64Mi")
    assert _agent(any_cluster) == before


def test_a_pod_gets_what_it_asks_for_and_a_quote(
    installation: Installation, cluster: Cluster, clinic: str, tmp_path: Path
) -> None:
    cluster.apply(pod("asks", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.apply(
        pod("quoting", clinic, "import signal; signal.pause()", interpreter=("python3", "-c"), limits={EPC: "2Mi"})
    )
    cluster.wait_ready("asks", "quoting")
    assert cluster.kubectl("logs", "asks").splitlines() == GIVEN
    quote = quote_from(cluster, "quoting", installation.state, bytes(64))
    assert judged(quote, installation.state, tmp_path).code == 0


def test_an_upgrade_of_the_agent_leaves_pods_running(installation: Installation, cluster: Cluster) -> None:
    cluster.apply(pod("stays", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.wait_ready("stays")
    words = ("--namespace", NAMESPACE, "daemonset/kloister-node")
    cluster.kubectl("rollout", "restart", *words)
    cluster.kubectl("rollout", "status", "--timeout=60s", *words, seconds=70)
    cluster.apply(pod("next", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.wait_ready("stays", "next")
    assert whole(installation.epc()) == 128 << 20
    (status,) = cluster.get("pod", "stays")["status"]["containerStatuses"]
    assert status["restartCount"] == 0
    assert cluster.kubectl("logs", "next").splitlines() == GIVEN


def test_nothing_secret_of_the_broker_is_in_the_cluster(installation: Installation, any_cluster: Cluster) -> None:
    """Its root key is made on its own volume: it is in no object and not in the database of the API server."""
    broker = next(installation.node.layout.state.glob("nodes/*/var/lib/volumes/*/broker/root.key"))
    key = broker.read_bytes()
    assert len(key) >= 32
    assert not [form for form in (key, base64.b64encode(key)) if form in any_cluster.etcd()]
    assert LABEL.encode() in any_cluster.etcd()  # the search would find what is there


def _agent(cluster: Cluster) -> list[str]:
    items = cluster.get("pods", "--namespace", NAMESPACE, "--selector=app.kubernetes.io/name=kloister-node")["items"]
    return [item["metadata"]["uid"] for item in items]
