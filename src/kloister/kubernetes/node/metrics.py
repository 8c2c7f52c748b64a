"""The agent's figures for Prometheus; those of the quotes come from their own room through the same registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.allocations.watching import Watch
from kloister.kubernetes.node.detection import NodeFacts
from kloister.kubernetes.node.interface import Page
from kloister.kubernetes.node.kubelet.pod_resources import Holder
from kloister.kubernetes.node.plugin.service import DevicePlugin

_POD = ("namespace", "pod", "container")
_UNKNOWN = Holder("", "", "")  # of a container that the kubelet has not listed yet


class NodeCollector(Collector):
    """Reads the agent's parts when it is asked."""

    def __init__(self, facts: NodeFacts, plugin: DevicePlugin, allocations: Allocations, watch: Watch) -> None:
        self._facts, self._plugin, self._allocations, self._watch = facts, plugin, allocations, watch

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        yield from self._node()
        yield from self._registrations()
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
        used = GaugeMetricFamily("kloister_epc_used_bytes", "EPC that a pod's enclaves have", labels=_POD[:2])
        enclave = GaugeMetricFamily("kloister_epc_enclave_bytes", "EPC that a container's enclave has", labels=_POD)
        excess = GaugeMetricFamily("kloister_epc_excess_bytes", "EPC beyond what its pod was given", labels=_POD[:2])
        sizes: Counter[tuple[str, str, str]] = Counter()
        balance: Counter[tuple[str, str]] = Counter()
        uses: Counter[tuple[str, str]] = Counter()
        enclaves: Counter[tuple[str, str, str]] = Counter()
        for one in allocations.held:
            holder = watch.holders.get(one.id, _UNKNOWN)
            pod, use = (holder.namespace, holder.pod), (watch.used or {}).get(one.id, 0)
            sizes[*pod, holder.container] += one.size
            balance[pod] += use - one.size
            uses[pod] += use
            if (allocations.used or {}).get(one.id):  # only a simulated platform knows enclaves
                enclaves[*pod, holder.container] += use
        for family, found in ((given, sizes), (enclave, enclaves)):
            for key, size in found.items():
                family.add_metric(key, size)
        for pod in uses if watch.used is not None else ():
            used.add_metric(pod, uses[pod])
            excess.add_metric(pod, max(0, balance[pod]))
        known = GaugeMetricFamily("kloister_epc_used_known", "1: somebody tells how much EPC pods use")
        known.add_metric([], float(watch.used is not None))
        yield from (given, used, enclave, excess, known)


def page(registry: CollectorRegistry) -> Page:
    """All figures of a registry in Prometheus' text format."""
    return Page(200, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)
