"""How the API server comes to trust the webhook: every replica adds its CA to the registered `caBundle`."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any, Protocol

from kloister.errors import Misconfigured
from kloister.kubernetes.cluster import Conflict
from kloister.kubernetes.webhook.certificates import Authority, bundle

_ATTEMPTS = 20  # replicas that start at once
Json = dict[str, Any]


class Registry(Protocol):
    """Where webhooks are registered (`kubernetes.cluster.Cluster`)."""

    async def webhook(self, name: str) -> Json | None: ...  # noqa: D102 (see Cluster)
    async def patch_webhook(self, name: str, patch: list[Json]) -> None: ...  # noqa: D102 (see Cluster)


async def register(registry: Registry, name: str, authority: Authority, at: datetime) -> None:
    """Add the authority to all webhooks of the configuration.

    Raises:
        Misconfigured: `webhook-unregistered`. Unavailable: `cluster-refused`, `cluster-unreachable`,
            `cluster-conflict` (others kept writing).
    """
    for attempt in range(_ATTEMPTS):
        configuration = await registry.webhook(name)
        if configuration is None:
            raise Misconfigured(
                "webhook-unregistered",
                f"There is no MutatingWebhookConfiguration {name!r}.",
                "Install the chart or the Kustomize form; it is part of both.",
            )
        patch = _patch(configuration, authority, at)
        try:
            if len(patch) > 1:
                await registry.patch_webhook(name, patch)
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _patch(configuration: Json, authority: Authority, at: datetime) -> list[Json]:
    """A JSON patch of the version that was read: the server refuses it (409) where that is an older one."""
    version = configuration["metadata"]["resourceVersion"]
    patch: list[Json] = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}]
    for index, webhook in enumerate(configuration.get("webhooks") or []):
        present = b64decode((webhook.get("clientConfig") or {}).get("caBundle") or "")
        wanted = bundle(present, authority.ca, at)
        if wanted != present:
            path = f"/webhooks/{index}/clientConfig/caBundle"
            patch.append({"op": "add", "path": path, "value": b64encode(wanted).decode()})
    return patch
