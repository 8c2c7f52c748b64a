"""Which pod holds which devices, as the kubelet tells it: its pod resources API, v1 and before that v1alpha1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from kloister.errors import Unavailable
from kloister.kubernetes.node.kubelet import pod_resources_pb2 as api
from kloister.kubernetes.node.kubelet.calls import ask, reason

SOCKET = Path("pod-resources") / "kubelet.sock"
VERSIONS = ("v1", "v1alpha1")
_PATIENCE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Holder:
    """A container of a pod."""

    namespace: str
    pod: str
    container: str


async def holders(kubelet: Path, resource: str) -> dict[str, Holder]:
    """The holder of each device of a resource.

    Raises:
        Unavailable: `pod-resources`: the kubelet does not answer there, or has no such API.
    """
    found: dict[str, Holder] = {}
    for pod in (await _list(kubelet / SOCKET)).pod_resources:
        for container in pod.containers:
            holder = Holder(pod.namespace, pod.name, container.name)
            for devices in container.devices:
                if devices.resource_name == resource:
                    found.update(dict.fromkeys(devices.device_ids, holder))
    return found


async def _list(path: Path) -> api.ListPodResourcesResponse:
    for version in VERSIONS:
        method = f"/{version}.PodResourcesLister/List"
        try:
            return await ask(path, method, api.ListPodResourcesRequest(), api.ListPodResourcesResponse, _PATIENCE)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise _away(path, reason(error)) from None
    raise _away(path, "neither v1 nor v1alpha1 is known")


def _away(path: Path, why: str) -> Unavailable:
    return Unavailable(
        "pod-resources",
        f"The kubelet does not say at {path} which pod has which devices: {why}.",
        "Mount the kubelet's pod-resources folder into the agent; its checkpoint is read instead.",
    )
