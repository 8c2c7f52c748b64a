"""The kubelet's memory of its devices: `kubelet_internal_checkpoint`, JSON (kubelet, cm/devicemanager/checkpoint)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloister.errors import Malformed
from kloister.kubernetes.node.kubelet.identity import Identity, identity

NAME = "kubelet_internal_checkpoint"
_LIMIT = 64 << 20  # bytes; 131,072 devices of one plugin made 1 MB (kubernetes.md, 1.2)


@dataclass(frozen=True, slots=True)
class Entry:
    """Devices of one resource that a container of a pod holds."""

    pod: str  # its UID
    container: str
    resource: str
    devices: frozenset[str]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the kubelet remembers; entries of ended pods stay until it needs devices again."""

    entries: tuple[Entry, ...]
    registered: dict[str, frozenset[str]]  # healthy devices by resource


class CheckpointFile:
    """The checkpoint in the kubelet's folder of device plugins, read when it changed.

    Args:
        folder: usually /var/lib/kubelet/device-plugins.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._seen: Identity | None = None
        self._last: Checkpoint | None = None

    def read(self) -> Checkpoint | None:
        """The present one, None where there is none.

        Raises:
            Malformed: `kubelet-checkpoint`.
        """
        seen = identity(self._path)
        if seen is None or seen != self._seen:
            self._seen, self._last = None, self._read()
            self._seen = seen
        return self._last

    def _read(self) -> Checkpoint | None:
        try:
            with self._path.open("rb") as file:
                return parse(file.read(_LIMIT + 1))
        except OSError:
            return None


def parse(data: bytes) -> Checkpoint:
    """The checkpoint in these bytes. Raises `Malformed` `kubelet-checkpoint`."""
    try:
        content = json.loads(data[: _LIMIT + 1])["Data"]
        entries = tuple(_entry(one) for one in content.get("PodDeviceEntries") or [])
        registered = {name: frozenset(_ids(ids)) for name, ids in (content.get("RegisteredDevices") or {}).items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Malformed(
            "kubelet-checkpoint", "The kubelet's checkpoint of devices is not in a known form.", "It is not used."
        ) from None
    return Checkpoint(entries, registered)


def _entry(value: dict[str, Any]) -> Entry:
    pod, container, resource = (str(value[name]) for name in ("PodUID", "ContainerName", "ResourceName"))
    return Entry(pod, container, resource, frozenset(_ids(value["DeviceIDs"])))


def _ids(value: Any) -> list[str]:
    """A list; since 1.20 one for each NUMA node, in an object."""
    if isinstance(value, dict):
        return [one for ids in value.values() for one in _ids(ids)]
    if not isinstance(value, list | None) or not all(isinstance(one, str) for one in value or ()):
        raise TypeError
    return value or []
