"""The agent's figures for Prometheus; those of the quotes come from their own room through the same registry."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.allocations.watching import Watch
from kloister.kubernetes.node.detection import NodeFacts
from kloister.kubernetes.node.interface import Page
from kloister.kubernetes.node.plugin.service import DevicePlugin

_POD = ("namespace", "pod", "container")


class NodeCollector(Collector):
    """Reads the agent's parts when it is asked."""

    def __init__(
        self, facts: NodeFacts, plugin: DevicePlugin, allocations: Allocations | None, watch: Watch | None
    ) -> None:
        self._facts, self._plugin, self._allocations, self._watch = facts, plugin, allocations, watch

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        yield from self._node()
        yield from self._registrations()
        if self._allocations is not None and self._watch is not None:
            yield from self._allocated(self._allocations, self._watch)

    def _node(self) -> Iterator[Metric]:
        total = GaugeMetricFamily("kloister_epc_bytes", "EPC of the node", labels=["node", "kind"])
        for section in self._facts.epc:
            total.add_metric(["" if section.node is None else str(section.node), section.kind], section.bytes)
        yield total
        yield GaugeMetricFamily("kloister_epc_block_bytes", "EPC of one block", value=self._facts.block_bytes)

    def _registrations(self) -> Iterator[Metric]:
        held = GaugeMetricFamily("kloister_plugin_registered", "1: the kubelet has the resource", labels=["resource"])
        times = CounterMetricFamily("kloister_plugin_registrations", "Registrations", labels=["resource"])
        adopted = GaugeMetricFamily("kloister_plugin_adopted", "1: another plugin offers it", labels=["resource"])
        for offer in self._plugin.offers:
            name = [offer.resource.name]
            held.add_metric(name, float(offer.registered))
            times.add_metric(name, offer.registrations)
            adopted.add_metric(name, float(offer.resource.name in self._plugin.adopted))
        yield from (held, times, adopted)

    def _allocated(self, allocations: Allocations, watch: Watch) -> Iterator[Metric]:
        given = GaugeMetricFamily("kloister_epc_allocated_bytes", "EPC that a container was given", labels=_POD)
        used = GaugeMetricFamily("kloister_epc_used_bytes", "EPC that its enclaves have", labels=_POD)
        excess = GaugeMetricFamily(
            "kloister_epc_excess_bytes", "EPC that they have beyond what it was given", labels=_POD
        )
        sums: dict[tuple[str, str, str], tuple[int, int]] = {}
        for one in allocations.held:
            holder = watch.holders.get(one.id)
            key = (holder.namespace, holder.pod, holder.container) if holder else ("", "", "")
            before = sums.get(key, (0, 0))
            sums[key] = before[0] + one.size, before[1] + allocations.used.get(one.id, 0)
        for key, (size, use) in sums.items():
            given.add_metric(key, size)
            used.add_metric(key, use)
            excess.add_metric(key, max(0, use - size))
        yield from (given, used, excess)


def page(registry: CollectorRegistry) -> Page:
    """All figures of a registry in Prometheus' text format."""
    return Page(200, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)
