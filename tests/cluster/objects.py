"""Objects of Kubernetes that the tests make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def pod(
    name: str, image: str, script: str = "echo started; sleep 3600", *, interpreter: Sequence[str] = ("sh", "-c"),
    limits: Mapping[str, str] | None = None, **spec: Any,
) -> dict[str, Any]:  # fmt: skip
    """A pod of one container, `app`, that runs a script and is gone at once when it is deleted."""
    container: dict[str, Any] = {"name": "app", "image": image, "command": [*interpreter, script]}
    if limits:
        container["resources"] = {"limits": dict(limits)}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }  # fmt: skip


def deployment(name: str, image: str, script: str, replicas: int) -> dict[str, Any]:
    """A deployment of such pods."""
    template = pod(name, image, script)
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    }  # fmt: skip


def service(name: str, port: int, target: int, kind: str = "ClusterIP") -> dict[str, Any]:
    """A service in front of the pods with the label `app: NAME`."""
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": name}, "ports": [{"port": port, "targetPort": target}]},
    }  # fmt: skip
