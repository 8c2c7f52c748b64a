"""The API server, as little of it as controller, webhook and agent need; lightkube does the talking.

Objects are plain dictionaries, so that what decides about them stays pure.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import Any, TypeVar, cast

import httpx2
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import create_global_resource
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import MutatingWebhookConfiguration
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Event, Node, Pod
from lightkube.types import OnErrorAction, OnErrorResult, PatchType

from kloister.errors import Misconfigured, Unavailable
from kloister.kubernetes.names import GROUP
from kloister.kubernetes.resources import KIND, PLURAL, ConfidentialNode

Json = dict[str, Any]
_Object = TypeVar("_Object")
_Item = TypeVar("_Item")
_Reported = create_global_resource(GROUP, "v1alpha1", KIND, PLURAL)
_CONFLICT, _NOT_FOUND = 409, 404
_RETRY = 2.0  # seconds between attempts to watch again


class Conflict(Unavailable):
    """Somebody else wrote the object in between; read it again."""


class Cluster:
    """One API server.

    Raises:
        Misconfigured: `cluster-unknown`: there is neither a service account nor a kubeconfig.
    """

    def __init__(self) -> None:
        try:
            self._client = AsyncClient(field_manager="kloister")
        except ConfigError:
            raise Misconfigured(
                "cluster-unknown",
                "No cluster is configured: there is neither a service account nor a kubeconfig.",
                "Set KUBECONFIG, or run in a pod.",
            ) from None

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    async def nodes(self) -> list[Json]:
        """All Node objects."""
        return [node.to_dict() for node in await _all(self._client.list(Node))]

    async def node(self, name: str) -> Json | None:
        """One Node object, or None."""
        found = await self._found(self._client.get(Node, name))
        return found.to_dict() if found else None

    async def patch_node(self, name: str, patch: Json) -> None:
        """Merge into a node's metadata and spec; `Conflict` where it names an older resourceVersion."""
        await self._patched(self._client.patch(Node, name, patch, patch_type=PatchType.MERGE))

    async def patch_node_status(self, name: str, patch: Json) -> None:
        """Merge into a node's status."""
        await self._patched(self._client.patch(Node.Status, name, patch, patch_type=PatchType.MERGE))

    async def reports(self) -> list[Json]:
        """All ConfidentialNode objects."""
        return [dict(item) for item in await _all(self._client.list(_Reported))]

    async def changes_of_reports(self) -> AsyncIterator[tuple[str, Json]]:
        """For ever: (`ADDED` | `MODIFIED` | `DELETED`, object), beginning with what is there."""
        async for event, item in self._client.watch(_Reported, on_error=_again):
            yield event, dict(item)

    async def write_report(self, report: ConfidentialNode) -> None:
        """Create or replace the agent's own resource."""
        document = report.build()
        patch = {"spec": document["spec"]}
        call = self._client.patch(_Reported, report.name, patch, patch_type=PatchType.MERGE)
        if await self._found(call) is None:
            await self._patched(self._client.create(_Reported.from_dict(document)))

    async def failed_pods(self) -> list[Json]:
        """The pods of all namespaces that failed."""
        found = self._client.list(Pod, namespace="*", fields={"status.phase": "Failed"})
        return [pod.to_dict() for pod in await _all(found)]

    async def changes_of_pods(self, node: str) -> AsyncIterator[tuple[str, Json]]:
        """For ever: (`ADDED` | `MODIFIED` | `DELETED`, pod) of the pods on a node, beginning with what is there."""
        async for event, pod in self._client.watch(Pod, namespace="*", fields={"spec.nodeName": node}, on_error=_again):
            yield event, pod.to_dict()

    async def write_event(self, event: Json) -> None:
        """Create an Event, or change its message, count and time."""
        metadata = event["metadata"]
        patch = {name: event[name] for name in ("message", "count", "lastTimestamp")}
        namespace, kind = metadata["namespace"], PatchType.MERGE
        call = self._client.patch(Event, metadata["name"], patch, namespace=namespace, patch_type=kind)
        if await self._found(call) is None:
            await self._patched(self._client.create(cast("Event", Event.from_dict(event))))

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete this very pod; nothing happens where it is gone or another has its name."""
        pod = await self._pod(namespace, name)
        if pod is not None and (pod.get("metadata") or {}).get("uid") == uid:
            await self._found(self._client.delete(Pod, name, namespace=namespace))

    async def _pod(self, namespace: str, name: str) -> Json | None:
        found = await self._found(self._client.get(Pod, name, namespace=namespace))
        return found.to_dict() if found else None

    async def webhook(self, name: str) -> Json | None:
        """The MutatingWebhookConfiguration of a name, or None."""
        found = await self._found(self._client.get(MutatingWebhookConfiguration, name))
        return found.to_dict() if found else None

    async def patch_webhook(self, name: str, patch: list[Json]) -> None:
        """Apply a JSON patch to it."""
        await self._patched(self._client.patch(MutatingWebhookConfiguration, name, patch, patch_type=PatchType.JSON))

    async def lease(self, namespace: str, name: str) -> Lease | None:
        """A Lease, or None."""
        return await self._found(self._client.get(Lease, name, namespace=namespace))

    async def write_lease(self, namespace: str, name: str, spec: LeaseSpec, version: str | None) -> None:
        """Create it (`version` None) or replace what was read; `Conflict` where another was faster."""
        lease = Lease(metadata=ObjectMeta(name=name, namespace=namespace, resourceVersion=version), spec=spec)
        await self._patched(self._client.create(lease) if version is None else self._client.replace(lease))

    async def _found(self, call: Awaitable[_Object]) -> _Object | None:
        """What the call gives, or None where the server has no such object."""
        try:
            return await call
        except ApiError as error:
            if error.status.code == _NOT_FOUND:
                return None
            raise _refused(error) from None
        except httpx2.HTTPError as error:
            raise _unreachable(error) from None

    async def _patched(self, call: Awaitable[object]) -> None:
        try:
            await call
        except ApiError as error:
            if error.status.code == _CONFLICT:
                raise Conflict("cluster-conflict", "Another writer was faster.", "It is tried again.") from None
            raise _refused(error) from None
        except httpx2.HTTPError as error:
            raise _unreachable(error) from None


async def _all(items: AsyncIterable[_Item]) -> list[_Item]:
    """A list to its end. Raises `Unavailable` `cluster-refused`, `cluster-unreachable`."""
    try:
        return [item async for item in items]
    except ApiError as error:
        raise _refused(error) from None
    except httpx2.HTTPError as error:
        raise _unreachable(error) from None


def _refused(error: ApiError) -> Unavailable:
    return Unavailable(
        "cluster-refused",
        f"The API server refused: {error.status.message}.",
        "Check the service account's role: `kloister kube check`.",
    )


def _unreachable(error: httpx2.HTTPError) -> Unavailable:
    return Unavailable("cluster-unreachable", f"The API server does not answer: {type(error).__name__}.", "Try again.")


def _again(error: Exception, count: int) -> OnErrorResult:
    del error, count
    return OnErrorResult(OnErrorAction.RETRY, _RETRY)
