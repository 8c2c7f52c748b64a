"""The plugin of a node: its offers, what another plugin offers already, the health of the devices, and the answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kloister import clock
from kloister.kubernetes.names import EPC_BLOCK
from kloister.kubernetes.node.allocations.book import Allocations
from kloister.kubernetes.node.detection import NodeFacts
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from kloister.kubernetes.node.kubelet.checkpoint import CheckpointFile
from kloister.kubernetes.node.kubelet.registration import FOLDER
from kloister.kubernetes.node.plugin import rivals, sockets
from kloister.kubernetes.node.plugin.answers import Answers
from kloister.kubernetes.node.plugin.offer import Offer
from kloister.kubernetes.node.plugin.resources import resources

_LOG = logging.getLogger("kloister.node.plugin")
TICK = 0.5  # seconds between two looks at the folder and the devices
_RIVALS = 10.0  # seconds after which rivals are looked for although no socket came or went
PLACES = 110
"""Containers that may have the device nodes at once: as many as a kubelet runs pods by default."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the plugin.

    Attributes:
        kubelet: the kubelet's folder, usually /var/lib/kubelet.
        quotes: the quote socket's folder, by the path that the host has for it.
        places: containers that may have the device nodes at once.
        cdi: whether devices are named for the container runtime in place of being listed.
    """

    kubelet: Path
    quotes: Path
    places: int = PLACES
    cdi: bool = False


class DevicePlugin:
    """Keeps the node's resources with the kubelet; it never ends because a kubelet is away.

    Args:
        settings: see there.
        facts: what the node has.
        allocations: where blocks become allocations.
        healthy: whether the devices work, asked at each tick.
    """

    def __init__(
        self,
        settings: Settings,
        facts: NodeFacts,
        allocations: Allocations,
        healthy: Callable[[], bool],
    ) -> None:
        self.adopted: frozenset[str] = frozenset()
        """Resources that another plugin offers."""
        self._facts = facts
        self._folder = settings.kubelet / FOLDER
        self._checkpoint = CheckpointFile(self._folder)
        self._allocations = allocations
        self._is_healthy = healthy
        self._answers = Answers(facts, settings.quotes, settings.cdi)
        self.offers = [Offer(settings.kubelet, one, self._allocate) for one in resources(facts, settings.places)]
        self._foreign: list[str] = []
        self._looked = float("-inf")

    @property
    def missing(self) -> list[str]:
        """Names of the resources that the kubelet should have of us and has not."""
        ours = [offer for offer in self.offers if offer.resource.name not in self.adopted]
        return [offer.resource.name for offer in ours if not offer.registered]

    @property
    def stranded(self) -> bool:
        """Whether our folder was deleted under its mount: what the kubelet makes anew is another one, out of reach."""
        try:
            return self._folder.stat().st_nlink == 0
        except OSError:
            return False

    async def run(self) -> None:
        """Tend the offers until cancelled, then withdraw them. Raises `Misconfigured` `socket-path`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                for offer in self.offers:
                    tasks.create_task(self._tend(offer))
        finally:
            await asyncio.gather(*(offer.withdraw() for offer in self.offers))

    async def _watch(self) -> None:
        """Devices and other plugins; apart from the offers, of which a slow kubelet may hold one up."""
        while True:
            healthy = self._is_healthy()
            for offer in self.offers:
                offer.set_health(healthy=healthy)
            self._look_for_rivals()
            await asyncio.sleep(TICK)

    async def _tend(self, offer: Offer) -> None:
        while True:
            try:
                if offer.resource.name in self.adopted:
                    await offer.withdraw()
                else:
                    await offer.tend()
            except OSError as error:  # the folder goes away between two calls, the disk is full
                _LOG.warning("cannot serve", extra={"resource": offer.resource.name, "why": str(error)})
            await asyncio.sleep(TICK)

    def _look_for_rivals(self) -> None:
        foreign, now = sockets.foreign(self._folder), clock.monotonic()
        if foreign == self._foreign and now - self._looked < _RIVALS:
            return
        self._foreign, self._looked = foreign, now
        adopted = rivals.adopted(self._folder, [offer.resource.name for offer in self.offers], self._checkpoint)
        if adopted != self.adopted:
            _LOG.info("resources of another plugin", extra={"adopted": sorted(adopted)})
        self.adopted = adopted

    async def _allocate(self, resource: str, ids: Sequence[str]) -> api.ContainerAllocateResponse:
        if resource != EPC_BLOCK:
            return self._answers.device(resource)
        allocation = await self._allocations.make(ids, len(ids) * self._facts.block_bytes)
        return self._answers.blocks(self._allocations.folder(allocation) if self._facts.simulated else None)
