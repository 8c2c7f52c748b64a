"""Pods of the double: their devices, in the kubelet's checkpoint and in its pod resources API."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from kloister.kubernetes.node.kubelet import pod_resources_pb2 as podresources


@dataclass
class Pod:
    namespace: str
    name: str
    uid: str
    containers: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # devices by container and resource
    answers: dict[str, list[api.ContainerAllocateResponse]] = field(default_factory=dict)


def held(pods: list[Pod], resource: str) -> set[str]:
    return {one for pod in pods for devices in pod.containers.values() for one in devices.get(resource, [])}


def checkpoint(pods: list[Pod], registered: dict[str, list[str]]) -> bytes:
    """As kubelets write it since 1.20, devices by NUMA node; the checksum is not looked at by anybody else."""
    entries = [
        {
            "PodUID": pod.uid,
            "ContainerName": container,
            "ResourceName": resource,
            "DeviceIDs": {"-1": ids},
            "AllocResp": base64.b64encode(b"").decode(),
        }
        for pod in pods
        for container, devices in pod.containers.items()
        for resource, ids in devices.items()
    ]
    data = {"PodDeviceEntries": entries or None, "RegisteredDevices": registered}
    return json.dumps({"Data": data, "Checksum": 1}).encode()


class PodResources:
    """The pod resources API of one version at a socket."""

    def __init__(self, path: Path, version: str, pods: list[Pod]) -> None:
        path.parent.mkdir(exist_ok=True)
        self._pods = pods
        handler = grpc.unary_unary_rpc_method_handler(
            self._list, podresources.ListPodResourcesRequest.FromString, _build
        )
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(f"{version}.PodResourcesLister", {"List": handler}),)
        )
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def _list(self, _request: Any, _context: Any) -> podresources.ListPodResourcesResponse:
        answer = podresources.ListPodResourcesResponse()
        for pod in list(self._pods):
            told = answer.pod_resources.add(name=pod.name, namespace=pod.namespace)
            for container, devices in pod.containers.items():
                inner = told.containers.add(name=container)
                for resource, ids in devices.items():
                    inner.devices.add(resource_name=resource, device_ids=ids)
        return answer


def _build(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
