"""One resource on one socket: the service v1beta1.DevicePlugin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from kloister.errors import Denied, KloisterError
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from kloister.kubernetes.node.kubelet.calls import limits
from kloister.kubernetes.node.plugin.preferred import prefer
from kloister.kubernetes.node.plugin.resources import Resource

SERVICE = "v1beta1.DevicePlugin"
_GRACE = 1.0  # seconds that calls in progress have when a server ends; the streams are ended first
_OWNER_ONLY = 0o600

Allocate = Callable[[str, Sequence[str]], Awaitable[api.ContainerAllocateResponse]]
"""Answers for one container: name of the resource, ids of its devices. `KloisterError` fails the pod with its text."""


class ResourceServer:
    """Serves a resource at `path` until it is stopped; its socket is removed with it.

    Args:
        resource: what is offered.
        path: the socket, of a name that no server had before.
        allocate: answers Allocate.
        healthy: the devices' health at the start.
    """

    def __init__(self, resource: Resource, path: Path, allocate: Allocate, *, healthy: bool) -> None:
        self.resource = resource
        self.path = path
        self.watchers = 0
        """Streams of ListAndWatch that are open now; a kubelet that knows this server has one."""
        self._allocate = allocate
        self._healthy = healthy
        self._closing = False
        self._changed = asyncio.Event()
        self._nodes = {device.id: device.node for device in resource.devices}
        self._server = grpc.aio.server(options=limits())
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))

    async def start(self) -> None:
        """Listen. Raises `OSError` where the socket cannot be made."""
        try:
            self._server.add_insecure_port(f"unix:{self.path}")
        except RuntimeError as error:  # what gRPC makes of a failed bind
            raise OSError(0, f"cannot listen at {self.path}: {error}") from None
        await self._server.start()
        self.path.chmod(_OWNER_ONLY)

    async def stop(self) -> None:
        """End the streams, let calls in progress finish, remove the socket."""
        self._closing = True
        self._tell()
        await self._server.stop(_GRACE)
        self.path.unlink(missing_ok=True)

    def set_health(self, *, healthy: bool) -> None:
        """Tell every watcher, if it changed."""
        if healthy != self._healthy:
            self._healthy = healthy
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        unary = grpc.unary_unary_rpc_method_handler
        return {
            "GetDevicePluginOptions": unary(self._options, api.Empty.FromString, _build),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(self._watch, api.Empty.FromString, _build),
            "GetPreferredAllocation": unary(self._preferred, api.PreferredAllocationRequest.FromString, _build),
            "Allocate": unary(self._answer, api.AllocateRequest.FromString, _build),
            "PreStartContainer": unary(self._started, api.PreStartContainerRequest.FromString, _build),
        }

    async def _options(self, _request: api.Empty, _context: object) -> api.DevicePluginOptions:
        return options(self.resource)

    async def _watch(self, _request: api.Empty, _context: object) -> AsyncIterator[api.ListAndWatchResponse]:
        self.watchers += 1
        try:
            while not self._closing:
                changed = self._changed
                yield self.resource.listing(healthy=self._healthy)
                await changed.wait()
        finally:
            self.watchers -= 1

    async def _preferred(
        self, request: api.PreferredAllocationRequest, _context: object
    ) -> api.PreferredAllocationResponse:
        chosen = [
            prefer(one.available_device_ids, one.must_include_device_ids, one.allocation_size, self._nodes.get)
            for one in request.container_requests
        ]
        answers = [api.ContainerPreferredAllocationResponse(device_ids=ids) for ids in chosen]
        return api.PreferredAllocationResponse(container_responses=answers)

    async def _answer(
        self,
        request: api.AllocateRequest,
        context: grpc.aio.ServicerContext[api.AllocateRequest, api.AllocateResponse],
    ) -> api.AllocateResponse:
        try:
            wanted = [self._known(one.device_ids) for one in request.container_requests]
            answers = [await self._allocate(self.resource.name, ids) for ids in wanted]
        except KloisterError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return api.AllocateResponse(container_responses=answers)

    def _known(self, ids: Sequence[str]) -> list[str]:
        unknown = next((one for one in ids if one not in self._nodes), None) if ids else ""
        if unknown is not None:
            raise _unknown(self.resource.name, unknown)
        return list(dict.fromkeys(ids))

    async def _started(self, _request: api.PreStartContainerRequest, _context: object) -> api.PreStartContainerResponse:
        return api.PreStartContainerResponse()


def options(resource: Resource) -> api.DevicePluginOptions:
    """What the kubelet may ask of a resource; old kubelets read it in the registration, new ones ask the plugin."""
    return api.DevicePluginOptions(get_preferred_allocation_available=resource.packed)


def _unknown(resource: str, device: str) -> Denied:
    """The kubelet asks for what was never offered: it mixes up two plugins."""
    return Denied("device-unknown", f"{resource} has no device {device[:63]!a}.", "Restart the kubelet of the node.")


def _build(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
