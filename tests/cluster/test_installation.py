from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.kubernetes.manifests.rendering import ADMISSION_POLICIES
from tests.cluster.access import Cluster
from tests.cluster.bed.processes import PATIENCE, BedError
from tests.cluster.installation import LABEL, NAMESPACE, Installation
from tests.cluster.objects import pod
from tests.cluster.quoting import judged, quote_from
from tests.cluster.test_confidential_node import EPC, GIVEN, LOOK, clinic

__all__ = ["clinic"]


@pytest.fixture(scope="module")
def installed(installation: Installation) -> Iterator[Installation]:
    """Everything installed by `kloister kube install`."""
    try:
        installation.install("64Mi,64Mi")
        yield installation
    finally:
        installation.uninstall()


def test_the_check_finds_nothing_wrong(installed: Installation) -> None:
    lines = installed.kube("check").splitlines()
    assert lines
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert installed.name in installed.kube("status")


def test_installed_again_it_stays_as_it_is(installed: Installation, any_cluster: Cluster) -> None:
    before = _agent(any_cluster)
    installed.install("64Mi,64Mi")
    assert _agent(any_cluster) == before


def test_a_pod_gets_what_it_asks_for_and_a_quote(
    installed: Installation, cluster: Cluster, clinic: str, tmp_path: Path
) -> None:
    cluster.apply(pod("asks", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.apply(
        pod("quoting", clinic, "import signal; signal.pause()", interpreter=("python3", "-c"), limits={EPC: "2Mi"})
    )
    cluster.wait_ready("asks", "quoting")
    cluster.wait_printed("asks", *GIVEN)
    quote = quote_from(cluster, "quoting", installed.state, bytes(64))
    assert judged(quote, installed.state, tmp_path).code == 0


def test_an_upgrade_of_the_agent_leaves_pods_running(installed: Installation, cluster: Cluster) -> None:
    cluster.apply(pod("stays", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.wait_ready("stays")
    words = ("--namespace", NAMESPACE, "daemonset/kloister-node")
    cluster.kubectl("rollout", "restart", *words)
    cluster.kubectl("rollout", "status", f"--timeout={PATIENCE:g}s", *words, seconds=PATIENCE + 10)
    cluster.apply(pod("next", cluster.busybox, LOOK, limits={EPC: "10Mi"}))
    cluster.wait_ready("stays", "next")
    installed.wait_in_order("64Mi,64Mi")
    (status,) = cluster.get("pod", "stays")["status"]["containerStatuses"]
    assert status["restartCount"] == 0
    cluster.wait_printed("next", *GIVEN)


def test_nothing_secret_of_the_broker_is_in_the_cluster(installed: Installation, any_cluster: Cluster) -> None:
    """Its root key is made on its own volume: it is in no object and not in the database of the API server."""
    places = installed.node.layout.state.glob("nodes/*/var/lib/volumes/*/broker/root.key")
    keys = [place.read_bytes() for place in places]  # those of earlier installations are there too
    assert keys
    assert all(len(key) >= 32 for key in keys)
    database = any_cluster.etcd()
    assert not [form for key in keys for form in (key, base64.b64encode(key)) if form in database]
    assert LABEL.encode() in database  # the search would find what is there


def test_an_agent_writes_its_own_nodes_report_and_no_others(
    installed: Installation, any_cluster: Cluster, tmp_path: Path
) -> None:
    if any_cluster.minor < ADMISSION_POLICIES:
        pytest.skip(f"Kubernetes 1.{any_cluster.minor} has no ValidatingAdmissionPolicy")
    system = replace(any_cluster, namespace=NAMESPACE)
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={_agent(any_cluster, 'name')[0]}")
    own = system.bearing(system.kubectl("create", "token", "kloister-node", *bound).strip(), tmp_path)
    report = any_cluster.get("confidentialnode", installed.name)
    for name, answer in {installed.name: "already exists", "another": "report of its own node only"}.items():
        written = json.dumps({**report, "metadata": {"name": name}})
        with pytest.raises(BedError, match=answer):
            own.kubectl("create", "--dry-run=server", "--filename=-", stdin=written)


def _agent(cluster: Cluster, field: str = "uid") -> list[str]:
    items = cluster.get("pods", "--namespace", NAMESPACE, "--selector=app.kubernetes.io/name=kloister-node")["items"]
    return [item["metadata"][field] for item in items]
