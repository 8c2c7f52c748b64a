"""The cluster of the tests: that of KUBECONFIG, else the bed, which `make cluster-test` has started."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.access import Cluster
from tests.cluster.bed import bed
from tests.cluster.bed.layout import layout
from tests.cluster.bed.needs import unmet
from tests.cluster.installation import Installation

_LONGEST = 1200  # seconds of a test and what it sets up: our images are built, half a minute on an idle core


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Waits have their own limits; this one is for what hangs."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(_LONGEST))


@pytest.fixture(scope="session")
def any_cluster() -> Cluster:
    """The cluster, in no test's namespace."""
    given = os.environ.get("KUBECONFIG")
    if given:
        client = shutil.which("kubectl")
        if client is None:
            pytest.skip("KUBECONFIG is set, but kubectl is not on PATH")
        return Cluster(Path(given), Path(client), None)
    place = layout()
    if not bed.is_up(place):
        pytest.skip(unmet() or "no cluster runs: make cluster")
    return Cluster(place.kubeconfig, bed.kubectl(place), place)


@pytest.fixture(scope="session")
def installation(any_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A cluster whose nodes have our images; nothing is installed yet."""
    made = Installation.on(any_cluster)
    made.bring_images(tmp_path_factory.mktemp("images"))
    return made


@pytest.fixture
def cluster(any_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, in a namespace that ends with the test."""
    mine = replace(any_cluster, namespace=f"kloister-test-{uuid.uuid4().hex[:8]}")
    mine.kubectl("create", "namespace", mine.namespace)
    try:
        mine.wait_takes_pods()
        yield mine
    finally:
        mine.kubectl("delete", "namespace", mine.namespace, "--wait=false")
