"""Why a converted image was not started, as events of its pod: a pure function from a pod to Event objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from kloister.errors import Malformed
from kloister.formats.protocol.events import Refused, parse_event
from kloister.kubernetes.controller.wanted import asks_for_epc

REASON = "KloisterRefused"
_SOURCE = "kloister-controller"
_STATUS = 70  # exit status of an entry point that refused (architecture, section 14)
_MESSAGE = 1000  # bytes; the API server takes 1024 (Kubernetes API, Event.message)
_NAME = 200  # characters of the pod's name in the event's, which may have 253
Json = dict[str, Any]


def refusals(pod: Mapping[str, Any]) -> list[Json]:
    """One Event for each container of a pod with EPC whose entry point refused to start the application.

    The event depends on the pod's status only, its count on the container's restarts: written twice it stays the same.
    What it says is the container's own word (its termination message), in its own namespace.
    """
    if not asks_for_epc(pod):
        return []
    status = pod.get("status") or {}
    kinds = {"containers": "containerStatuses", "initContainers": "initContainerStatuses"}
    return [
        event for kind, field in kinds.items() for one in status.get(field) or [] for event in _event(pod, kind, one)
    ]


def _event(pod: Mapping[str, Any], kind: str, status: Mapping[str, Any]) -> Iterator[Json]:
    now, before = (((status.get(name) or {}).get("terminated") or {}) for name in ("state", "lastState"))
    ended = now or before
    refusal = _refusal(ended)
    if refusal is None:
        return
    metadata, container = pod["metadata"], status["name"]
    mark = sha256("\0".join((metadata["uid"], container, refusal.code)).encode()).hexdigest()[:16]
    place = {"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}
    yield {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name'][:_NAME].rstrip('.-')}.{mark}"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "fieldPath": f"spec.{kind}{{{container}}}", **place},
        "reason": REASON,
        "type": "Warning",
        "message": _message(container, refusal),
        "count": status.get("restartCount", 0) + (1 if now else 0),
        "firstTimestamp": ended.get("finishedAt"),
        "lastTimestamp": ended.get("finishedAt"),
        "source": {"component": _SOURCE, "host": (pod.get("spec") or {}).get("nodeName", "")},
        "reportingComponent": _SOURCE,
        "reportingInstance": _SOURCE,
    }


def _refusal(ended: Mapping[str, Any]) -> Refused | None:
    if ended.get("exitCode") != _STATUS:
        return None
    try:
        message = json.loads(ended.get("message") or "")
        event = parse_event(message) if isinstance(message, dict) else None
    except (ValueError, RecursionError, Malformed):
        return None
    return event if isinstance(event, Refused) else None


def _message(container: str, refusal: Refused) -> str:
    said = f"{container} was not started [{refusal.code}]: {refusal.text} {refusal.hint}".strip()
    plain = "".join(sign if sign.isprintable() else " " for sign in said)
    return plain.encode()[:_MESSAGE].decode("utf-8", "ignore")
