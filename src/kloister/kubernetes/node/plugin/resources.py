"""What the plugin offers: three resources, each a list of devices."""

from __future__ import annotations

from dataclasses import dataclass

from kloister.kubernetes.names import ENCLAVE, EPC_BLOCK, PROVISION
from kloister.kubernetes.node.detection import NodeFacts
from kloister.kubernetes.node.epc import Block, blocks
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api

HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"
PREFIXES = {ENCLAVE: "enclave-", PROVISION: "provision-", EPC_BLOCK: "epc"}
"""How the ids of a resource of ours begin: by them another plugin's registration is told from one of ours."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource and its devices; those of `epc-block` are blocks of EPC, the others places at the same device node."""

    name: str
    devices: tuple[Block, ...]

    @property
    def short(self) -> str:
        """The name without its domain, for files and logs."""
        return self.name.rpartition("/")[2]

    @property
    def packed(self) -> bool:
        """Whether it matters which of the devices a container gets."""
        return len({device.node for device in self.devices}) > 1

    def listing(self, *, healthy: bool) -> api.ListAndWatchResponse:
        """What ListAndWatch says: always all devices."""
        health = HEALTHY if healthy else UNHEALTHY
        return api.ListAndWatchResponse(devices=[_device(device, health) for device in self.devices])


def _device(device: Block, health: str) -> api.Device:
    topology = None if device.node is None else api.TopologyInfo(nodes=[api.NumaNode(id=device.node)])
    return api.Device(id=device.id, health=health, topology=topology)


def resources(facts: NodeFacts, places: int) -> tuple[Resource, ...]:
    """The resources of a node, none where it cannot run enclaves; `places`: containers with device nodes at once."""
    if not facts.capable:
        return ()
    found = [
        Resource(name, tuple(Block(f"{PREFIXES[name]}{number}", None) for number in range(places)))
        for name, role in ((ENCLAVE, "enclave"), (PROVISION, "provision"))
        if facts.device(role) is not None
    ]
    return (*found, Resource(EPC_BLOCK, blocks(facts.epc, facts.block)))
