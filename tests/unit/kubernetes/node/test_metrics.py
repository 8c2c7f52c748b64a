"""Figures of EPC by pod, container and enclave, over allocations of a platform that says what they use."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry

from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.allocations.cgroups import Cgroups
from kloister.kubernetes.node.allocations.watching import Watch
from kloister.kubernetes.node.detection import simulated
from kloister.kubernetes.node.epc import parse_sizes
from kloister.kubernetes.node.kubelet.pod_resources import Holder
from kloister.kubernetes.node.metrics import NodeCollector, page
from kloister.kubernetes.node.plugin.service import DevicePlugin, Settings
from tests.unit.kubernetes.node.allocations.platform import Remembering

MIB = 1 << 20
SIDE = Holder("shop", "web", "side")
APP = Holder("shop", "web", "app")


def test_use_is_told_by_pod_and_by_enclave_and_what_is_beyond_too(tmp_path: Path) -> None:
    platform = Remembering()
    allocations = Allocations(tmp_path / "allocations", platform)
    watch = Watch(tmp_path / "kubelet", allocations, Cgroups(tmp_path))

    async def used() -> None:
        for block, (holder, size) in enumerate([(APP, 30), (APP, 0), (SIDE, 5)]):
            one = await allocations.make([f"epc0-{block}"], 8 * MIB)
            watch.holders[one.id] = holder
            platform.known[one.id] = size * MIB
        await allocations.keep()
        watch.used = allocations.used

    asyncio.run(used())
    found = figures(tmp_path, allocations, watch)
    assert found["kloister_epc_allocated_bytes", "app"] == 16 * MIB, "one that ended just now counts, too"
    assert found["kloister_epc_allocated_bytes", "side"] == 8 * MIB
    assert found["kloister_epc_enclave_bytes", "app"] == 30 * MIB
    assert found["kloister_epc_enclave_bytes", "side"] == 5 * MIB
    assert found["kloister_epc_used_bytes", ""] == 35 * MIB
    assert found["kloister_epc_excess_bytes", ""] == 11 * MIB
    assert found["kloister_epc_used_known", ""] == 1


def test_where_nobody_tells_the_use_is_unknown_and_not_nothing(tmp_path: Path) -> None:
    allocations = Allocations(tmp_path / "allocations", None)
    watch = Watch(tmp_path / "kubelet", allocations, Cgroups(tmp_path))
    asyncio.run(allocations.make(["epc0-0"], 8 * MIB))
    found = figures(tmp_path, allocations, watch)
    assert found["kloister_epc_allocated_bytes", ""] == 8 * MIB
    assert found["kloister_epc_used_known", ""] == 0
    assert ("kloister_epc_used_bytes", "") not in found


def figures(folder: Path, allocations: Allocations, watch: Watch) -> dict[tuple[str, str], float]:
    """By name and container."""
    facts = simulated(parse_sizes("64Mi"), "6.1")
    plugin = DevicePlugin(Settings(folder, folder), facts, allocations, lambda: True)
    registry = CollectorRegistry()
    registry.register(NodeCollector(facts, plugin, allocations, watch))
    assert b"kloister_epc_bytes" in page(registry).body
    samples = [sample for family in registry.collect() for sample in family.samples]
    keys = [(sample.name, sample.labels.get("container", "")) for sample in samples if "epc" in sample.name]
    assert len(set(keys)) == len(keys), "no series twice"
    return {(sample.name, sample.labels.get("container", "")): sample.value for sample in samples}
