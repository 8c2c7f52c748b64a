from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc

from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from tests.support.kubelet.endpoint import Endpoint
from tests.support.kubelet.pods import Pod, PodResources, checkpoint, held

CHECKPOINT = "kubelet_internal_checkpoint"


class Kubelet:
    """A node's kubelet below `folder`, which stands for /var/lib/kubelet.

    Args:
        folder: of a short path, because sockets are made in it.
        authority: what is sent as `:authority`; None for the path, as kubelets before 1.26 do.
        dials_back: whether the plugin is asked for its options inside Register, as kubelets since 1.27 do.
        podresources: version of that API, None for none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        authority: str | None = "localhost",
        dials_back: bool = True,
        podresources: str | None = "v1",
    ) -> None:
        self.folder = folder / "device-plugins"
        self.root = folder
        self.endpoints: dict[str, Endpoint] = {}
        self.options: dict[str, api.DevicePluginOptions] = {}
        self.registrations: list[tuple[str, str]] = []
        self.pods: list[Pod] = []
        self.refuse = ""
        """A text with which registrations are refused."""
        self._authority, self._dials_back, self._version = authority, dials_back, podresources
        self._server: grpc.Server | None = None
        self._resources: PodResources | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._uids = itertools.count(1)
        self._stopping = False

    def start(self) -> Self:
        """Wipe the folder but for the checkpoint, then listen."""
        self._stopping = False
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.root / "pods").mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            if path.name != CHECKPOINT:
                path.unlink(missing_ok=True)  # a plugin removes its own, too
        (self.folder / "DEPRECATION").write_text("marker")
        handler = grpc.unary_unary_rpc_method_handler(self._register, api.RegisterRequest.FromString, _build)
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("v1beta1.Registration", {"Register": handler}),)
        )
        self._server.add_insecure_port(f"unix:{self._socket}")
        self._server.start()
        if self._version is not None:
            self._resources = PodResources(self.root / "pod-resources" / "kubelet.sock", self._version, self.pods)
        return self

    def stop(self) -> None:
        """As if killed: streams break at once, the socket stays and refuses."""
        self._stopping = True
        for endpoint in list(self.endpoints.values()):
            endpoint.stop()
        self.endpoints.clear()
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None
        if self._resources is not None:
            self._resources.stop()
            self._resources = None
        self._socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as stale, contextlib.suppress(FileNotFoundError):
            stale.bind(str(self._socket))

    def restart(self, stale: float = 0.0) -> None:
        """Stop, leave the socket that refuses for so many seconds (10 to 13 of a real kubelet), start."""
        self.stop()
        time.sleep(stale)
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def capacity(self, resource: str) -> int:
        """Devices that the plugin lists."""
        return len(self._devices(resource))

    def allocatable(self, resource: str) -> int:
        """Healthy devices."""
        return len(self._healthy(resource))

    def admit(self, name: str, wanted: dict[str, int], *, container: str = "app", namespace: str = "default") -> Pod:
        """Admit a pod of one container: pick devices, ask Allocate for each resource. `grpc.RpcError` where refused."""
        pod = Pod(namespace, name, f"uid-{next(self._uids)}")
        for resource, size in wanted.items():
            endpoint = self.endpoints[resource]
            ids = self._pick(resource, size)
            request = api.AllocateRequest(container_requests=[api.ContainerAllocateRequest(device_ids=ids)])
            answer = endpoint.ask("Allocate", request, api.AllocateResponse)
            pod.containers.setdefault(container, {})[resource] = ids
            pod.answers.setdefault(container, []).extend(answer.container_responses)
        (self.root / "pods" / pod.uid).mkdir()
        self.pods.append(pod)
        self._write()
        return pod

    def delete(self, pod: Pod, *, remembered: bool = False) -> None:
        """The pod is gone; `remembered`: but not yet from the checkpoint, as real kubelets have it."""
        self.pods.remove(pod)
        shutil.rmtree(self.root / "pods" / pod.uid)
        if not remembered:
            self._write()

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> float:
        """Until it holds; how long it took. `TimeoutError` if it never does."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > seconds:
                raise TimeoutError(f"registered: {self.registrations}")
            time.sleep(0.01)
        return time.monotonic() - begin

    @property
    def _socket(self) -> Path:
        return self.folder / "kubelet.sock"

    def _devices(self, resource: str) -> dict[str, api.Device]:
        endpoint = self.endpoints.get(resource)
        return endpoint.devices if endpoint else {}

    def _healthy(self, resource: str) -> list[str]:
        return [one for one, device in self._devices(resource).items() if device.health == "Healthy"]

    def _pick(self, resource: str, size: int) -> list[str]:
        if size > self.allocatable(resource) - len(held(self.pods, resource)):
            raise ValueError(f"the scheduler would not place this: {size} of {resource}")
        free = sorted(set(self._healthy(resource)) - held(self.pods, resource))  # a kubelet's sets have no order either
        if not self.options[resource].get_preferred_allocation_available:
            return free[:size]
        one = api.ContainerPreferredAllocationRequest(available_device_ids=free, allocation_size=size)
        request = api.PreferredAllocationRequest(container_requests=[one])
        answer = self.endpoints[resource].ask("GetPreferredAllocation", request, api.PreferredAllocationResponse)
        return list(answer.container_responses[0].device_ids)

    def _register(self, request: api.RegisterRequest, context: grpc.ServicerContext) -> api.Empty:
        if self.refuse or request.version != "v1beta1" or "/" not in request.resource_name:
            context.abort(grpc.StatusCode.UNKNOWN, self.refuse or "not a plugin of mine")
        endpoint = Endpoint(self.folder / request.endpoint, self._authority, self._ended)
        options = request.options
        if self._dials_back:
            options = endpoint.ask("GetDevicePluginOptions", api.Empty(), api.DevicePluginOptions)
        with self._lock:
            old, self.endpoints[request.resource_name] = self.endpoints.get(request.resource_name), endpoint
            self.options[request.resource_name] = options
            self.registrations.append((request.resource_name, request.endpoint))
        if old is not None:
            old.stop()
        endpoint.follow()
        return api.Empty()

    def _ended(self) -> None:
        if not self._stopping:
            self._write()

    def _write(self) -> None:
        """In one piece, as kubelets do it; whoever writes last writes what holds then."""
        with self._writing:
            registered = {name: self._healthy(name) for name in list(self.endpoints)}
            new = self.folder / f".{CHECKPOINT}"
            new.write_bytes(checkpoint(self.pods, registered))
            new.replace(self.folder / CHECKPOINT)


def _build(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
