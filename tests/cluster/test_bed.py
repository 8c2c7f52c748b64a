"""The bed itself: nothing of it stays, not even of one that was killed while it started."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.access import Cluster
from tests.cluster.bed import bed, groups
from tests.cluster.bed.layout import NODES, Layout
from tests.cluster.bed.needs import unmet
from tests.cluster.bed.processes import BedError, wait_for


@pytest.mark.parametrize("seconds", [0, 3, 7])
def test_a_cluster_killed_while_it_starts_leaves_nothing_behind(
    any_cluster: Cluster, tmp_path: Path, seconds: float
) -> None:
    if any_cluster.layout is None:
        pytest.skip(unmet() or "tests the nodes of `make cluster`; this is the cluster of KUBECONFIG")
    place = Layout(tmp_path / "cluster")
    command = [sys.executable, "-m", "tests.cluster.bed", "--state", str(place.state), "up"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as starting:
        wait_for("the first process", lambda: groups.processes(place.identity))
        time.sleep(seconds)
        starting.send_signal(signal.SIGKILL)
    assert groups.processes(place.identity)
    bed.down(place)
    assert list(tmp_path.iterdir()) == []
    assert not groups.processes(place.identity)
    assert not list(groups.named(place.identity))
    assert str(place.state) not in Path("/proc/self/mounts").read_text()
    assert not _interfaces() & {"machines", "pods", *(node.name for node in NODES)}


def _interfaces() -> set[str]:
    return {line.partition(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()}


def test_a_directory_that_is_no_clusters_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(BedError, match="no cluster's"):
        bed.down(Layout(tmp_path))
    assert (tmp_path / "mine").read_text() == "precious"
