from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.kubernetes.names import EPC_BLOCK
from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.allocations.cgroups import Cgroups
from kloister.kubernetes.node.allocations.record import Allocation
from kloister.kubernetes.node.allocations.watching import NEW, Watch
from kloister.kubernetes.node.kubelet import pod_resources
from kloister.kubernetes.node.kubelet.pod_resources import SOCKET, Holder
from tests.support.kubelet.pods import Pod, PodResources, checkpoint
from tests.unit.kubernetes.node.allocations.platform import Remembering
from tests.unit.kubernetes.node.plugin.running import run
from tests.unit.kubernetes.node.short import short


class Node:
    """Allocations of pods `a` and `b`, old enough to be looked at, and what the kubelet says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.platform = Remembering()
        self.book = Allocations(folder / "allocations", self.platform, lambda: 0)
        self.watch = Watch(folder, self.book, Cgroups(folder))
        self.pods: list[Pod] = []
        (folder / "device-plugins").mkdir()
        self.a, self.b = self._make("a"), self._make("b")

    def _make(self, name: str) -> Allocation:
        blocks = [f"epc0-{name}0", f"epc0-{name}1"]
        self.pods.append(Pod("shop", name, f"uid-{name}", {"app": {EPC_BLOCK: blocks}}))
        (self.folder / "pods" / f"uid-{name}").mkdir(parents=True)
        return asyncio.run(self.book.make(blocks, 2))

    def remember(self, *pods: Pod) -> None:
        (self.folder / "device-plugins" / "kubelet_internal_checkpoint").write_bytes(checkpoint(list(pods), {}))

    def look(self) -> set[Allocation]:
        run(self.watch.look())
        return set(self.book.held)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(pod_resources, "_PATIENCE", 60.0)  # not a busy machine's silence for the kubelet's
    with short() as folder:
        yield Node(folder)


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
def test_what_no_pod_holds_is_released(node: Node, version: str) -> None:
    listed = list(node.pods)
    server = PodResources(node.folder / SOCKET, version, listed)
    try:
        node.remember(*listed)
        assert node.look() == {node.a, node.b}
        assert node.watch.holders == {
            node.a.id: Holder("shop", "a", "app"),
            node.b.id: Holder("shop", "b", "app"),
        }
        pod = listed.pop(0)
        assert node.look() == {node.a, node.b}, "the checkpoint still has it, and its folder is there"
        node.remember(*listed)
        assert node.look() == {node.b}
        assert set(node.platform.known) == {node.b.id}
        assert list(node.watch.holders) == [node.b.id]
        assert pod.name == "a"
    finally:
        server.stop()


def test_a_kubelet_that_just_started_lists_nothing_yet(node: Node) -> None:
    server = PodResources(node.folder / SOCKET, "v1", [])
    try:
        node.remember(*node.pods)
        assert node.look() == {node.a, node.b}
        (node.folder / "pods" / "uid-a").rmdir()
        assert node.look() == {node.b}, "an entry of a pod whose folder is gone is a memory only"
    finally:
        server.stop()


def test_without_pod_resources_the_checkpoint_decides(node: Node) -> None:
    node.remember(*node.pods)
    assert node.look() == {node.a, node.b}
    node.remember(node.pods[1])
    assert node.look() == {node.b}
    (node.folder / "pods" / "uid-b").rmdir()
    assert node.look() == set()


def test_where_nobody_says_anything_all_is_kept(node: Node) -> None:
    assert node.look() == {node.a, node.b}
    (node.folder / "device-plugins" / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": 1}))
    assert node.look() == {node.a, node.b}


def test_a_new_allocation_is_not_looked_for_yet(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet lists it only after our answer, and runs other pods' admission in between."""
    node.remember()
    monkeypatch.setattr("kloister.clock.unix", lambda: NEW - 1)
    assert node.look() == {node.a, node.b}
    monkeypatch.setattr("kloister.clock.unix", lambda: NEW)
    assert node.look() == set()


def test_the_platforms_absence_is_noted_and_forgotten(node: Node) -> None:
    node.platform.away = True
    node.look()
    assert node.watch.platform_error is not None
    assert node.watch.platform_error.code == "platform-unreachable"
    node.platform.away = False
    node.look()
    assert node.watch.platform_error is None
