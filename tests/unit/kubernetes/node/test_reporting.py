"""Reports with a pod's service account, to an API server over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kloister.errors import KloisterError
from kloister.kubernetes.node.reporting import InCluster
from kloister.kubernetes.resources import ConfidentialNode, Section
from tests.support.apiserver.server import ApiServer, in_cluster
from tests.support.pcs import certified

PATH = "/apis/kloister.dev/v1alpha1/confidentialnodes/n1"
SEEN = datetime(2026, 11, 22, 12, tzinfo=UTC)


def reported(*, quotes: bool) -> ConfidentialNode:
    return ConfidentialNode(
        "n1", 8 << 20, (Section(0, 1 << 30),), frozenset(), simulated=True, seen=SEEN, quotes=quotes
    )


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[InCluster]:
    with in_cluster(server, tmp_path) as environment:
        found = InCluster.find(environment, tmp_path)
        assert found is not None
        yield found


def write(cluster: InCluster, *, quotes: bool = True) -> str:
    """The code of a refusal, empty where it was written."""
    try:
        asyncio.run(cluster.write_report(reported(quotes=quotes)))
    except KloisterError as error:
        return error.code
    return ""


def test_a_report_is_made_then_merged_and_a_renewed_token_is_read(cluster: InCluster, server: ApiServer) -> None:
    assert write(cluster, quotes=False) == ""
    server.objects[PATH]["status"] = {"of": "the controller"}
    server.token = "renewed"
    assert write(cluster) == "cluster-refused"
    (cluster.account / "token").write_text("renewed\n")
    assert write(cluster) == ""
    assert ConfidentialNode.parse(server.objects[PATH]) == reported(quotes=True)
    assert server.objects[PATH]["status"] == {"of": "the controller"}
    assert [method for method, _ in server.requests] == ["PATCH", "POST", "PATCH", "PATCH"]


def test_another_authority_no_server_and_no_account(cluster: InCluster, tmp_path: Path) -> None:
    assert write(cluster) == ""
    good = (cluster.account / "ca.crt").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    (cluster.account / "ca.crt").write_bytes(certified(other)[0].read_bytes())
    assert write(cluster) == "cluster-unreachable"
    (cluster.account / "ca.crt").write_bytes(good)
    assert write(cluster) == ""
    assert write(InCluster("127.0.0.1", 1, cluster.account)) == "cluster-unreachable"
    (cluster.account / "token").unlink()
    assert write(cluster) == "cluster-unreachable"


def test_outside_of_pods_there_is_no_such_cluster(cluster: InCluster, tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": cluster.host, "KUBERNETES_SERVICE_PORT": str(cluster.port)}
    assert InCluster.find(environment, cluster.account) == cluster
    assert InCluster.find({}, cluster.account) is None
    assert InCluster.find(environment | {"KUBERNETES_SERVICE_PORT": "https"}, cluster.account) is None
    assert InCluster.find(environment, tmp_path / "absent") is None
