"""Volumes for claims: some directories of each node, of the default class; nothing makes more of them."""

from __future__ import annotations

from typing import Any

from tests.cluster.bed.layout import NODES, Layout, Site

_EACH = 20  # a volume is used once
_PLACE = "/var/lib/volumes"


def volumes(layout: Layout) -> dict[str, Any]:
    """Make the directories; returns the class and the volumes for the API server."""
    items = [_storage_class()]
    for site in NODES:
        for number in range(_EACH):
            directory = layout.node(site.name) / _PLACE.lstrip("/") / str(number)
            directory.mkdir(parents=True)
            items.append(_volume(site, number))
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _storage_class() -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "bed", "annotations": annotations},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    }  # fmt: skip


def _volume(site: Site, number: int) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [site.name]}
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{site.name}-{number}"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "bed",
            "persistentVolumeReclaimPolicy": "Retain", "local": {"path": f"{_PLACE}/{number}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }  # fmt: skip
