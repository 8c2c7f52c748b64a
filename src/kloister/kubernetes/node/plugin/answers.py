"""What a container gets: devices, environment and mounts, so that its pod needs no hostPath and no privilege."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kloister.kubernetes.names import ENCLAVE, GROUP, PROVISION
from kloister.kubernetes.node.detection import DeviceNode, NodeFacts
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api

QUOTES = "/var/run/aesmd"  # hard-coded in Intel's client (kubernetes.md, 2)
ALLOCATION = "/run/kloister"
ENVIRONMENT = {"SGX_AESM_ADDR": "1"}  # Intel's client: attest out of process
CDI_KIND = f"{GROUP}/sgx"
PERMISSIONS = "rw"  # of r, w and m: nobody makes device nodes
ROLES = {ENCLAVE: "enclave", PROVISION: "provision"}


@dataclass(frozen=True, slots=True)
class Answers:
    """Builds the answers for one node.

    Args:
        facts: the devices.
        quotes: folder of the quote socket on the host.
        cdi: whether devices are named for the container runtime (CDI) in place of being listed.
    """

    facts: NodeFacts
    quotes: Path
    cdi: bool = False

    def device(self, resource: str) -> api.ContainerAllocateResponse:
        """For a place at a device node; with the enclave's come environment and quote socket."""
        answer = self._plain() if resource == ENCLAVE else api.ContainerAllocateResponse()
        device = self.facts.device(ROLES[resource])
        if device is not None and self.cdi:
            answer.cdi_devices.add(name=f"{CDI_KIND}={device.role}")
        elif device is not None:
            _add_device(answer, device)
        return answer

    def blocks(self, folder: Path | None) -> api.ContainerAllocateResponse:
        """For blocks of EPC; environment and quote socket again, for where another plugin hands out the devices."""
        answer = self._plain()
        if folder is not None:
            answer.mounts.add(container_path=ALLOCATION, host_path=str(folder), read_only=True)
        return answer

    def _plain(self) -> api.ContainerAllocateResponse:
        answer = api.ContainerAllocateResponse(envs=ENVIRONMENT)
        answer.mounts.add(container_path=QUOTES, host_path=str(self.quotes), read_only=True)
        return answer


def _add_device(answer: api.ContainerAllocateResponse, device: DeviceNode) -> None:
    for name in device.names:
        answer.devices.add(container_path=name, host_path=device.host, permissions=PERMISSIONS)
