"""What a pod's request of EPC means: enclave device, EPC blocks, toleration, and the measured kernel features.

A pure function from a pod to JSON patches (RFC 6902), so that the same pod always gets the same answer; a pod that
has been through it once is not changed again (the API server may call twice).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

from kloister.errors import Malformed
from kloister.formats.enclave.runtime import MEMORY
from kloister.kubernetes.names import EPC, TAINT
from kloister.kubernetes.quantity import whole
from kloister.kubernetes.webhook.epc import Request, requested, resources

PROVISION_ANNOTATION = "sgx.intel.com/quote-provider"  # names the container that makes quotes in process (Intel's name)
TARGET_ANNOTATION = "kloister.dev/target"  # `gramine` keeps the pod off nodes without FSGSBASE
MEMORY_ANNOTATION = "kloister.dev/private-memory"  # size of the memory for private files, for instance 256Mi
ATTESTATION_PATH = "/dev/attestation"
_ATTESTATION_SIZE = "1Mi"  # of files of some KiB, and of what a program may leave there
_FSGSBASE = {"key": "kloister.dev/fsgsbase", "operator": "In", "values": ["true"]}
Json = dict[str, Any]
Patch = list[Json]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the cluster decides.

    Attributes:
        block: bytes of one EPC block, the largest of the cluster's nodes.
        broker: HOST:PORT that pods find the broker at; empty where it is not told (it is a hint: the CA is measured).
        largest: bytes of the largest node's EPC, for the warning; 0 where not known.
        simulated: a node is simulated: converted images run there as ordinary processes, which need /dev/attestation.
    """

    block: int
    broker: str = ""
    largest: int = 0
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Mutation:
    """Patches to apply in order, and sentences that `kubectl` shows."""

    patches: tuple[Json, ...]
    warnings: tuple[str, ...] = ()


def mutate(pod: Mapping[str, Any], settings: Settings) -> Mutation:
    """The patches for a pod; none where it asks for no EPC.

    Raises:
        Malformed: `quantity`, `epc-conflict`, `pod-shape`.
    """
    # 1. every container that asks, init containers too
    spec = _object(pod, "spec")
    asking = [(path, container, request) for path, container in _containers(spec) if (request := requested(container))]
    if not asking:
        return Mutation(())
    # 2. resources of each, and what the launcher in it wants to know
    patches: Patch = []
    for path, container, request in asking:
        patches += resources(path, container, request, settings.block, provision=_provides(pod, container))
        patches += _environment(path, container, settings)
    # 3. where the pod may land
    patches += _toleration(spec)
    patches += _kernel(pod, spec)
    # 4. memory of each container's own, which its entry point fills
    containers = [(path, container) for path, container, _ in asking]
    patches += _memory(spec, containers, _places(pod, settings))
    return Mutation(tuple(patches), tuple(_warnings([request for _, _, request in asking], settings)))


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for field in ("initContainers", "containers"):
        listed = spec.get(field) or []
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise _shape(f"spec.{field}")
        for index, container in enumerate(listed):
            yield f"/spec/{field}/{index}", container


def _provides(pod: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    named = _annotations(pod).get(PROVISION_ANNOTATION)
    return isinstance(named, str) and named == container.get("name")


def _environment(path: str, container: Mapping[str, Any], settings: Settings) -> Patch:
    present = container.get("env") or []
    if not isinstance(present, list) or not all(isinstance(item, dict) for item in present):
        raise _shape("env")
    wanted: Patch = [
        {"name": "KLOISTER_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        *([{"name": "KLOISTER_BROKER", "value": settings.broker}] if settings.broker else []),
    ]
    names = {item.get("name") for item in present}
    return _append(f"{path}/env", bool(present), [item for item in wanted if item["name"] not in names])


def _toleration(spec: Mapping[str, Any]) -> Patch:
    present = spec.get("tolerations") or []
    wanted = {"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}
    return [] if wanted in present else _append("/spec/tolerations", bool(present), [wanted])


def _kernel(pod: Mapping[str, Any], spec: Mapping[str, Any]) -> Patch:
    """Gramine needs FSGSBASE: a requirement in every node selector term, since terms are alternatives."""
    if _annotations(pod).get(TARGET_ANNOTATION) != "gramine":
        return []
    affinity = dict(_object(spec, "affinity", {}))
    node = dict(_object(affinity, "nodeAffinity", {}))
    required = _object(node, "requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    if not isinstance(terms, list) or not all(isinstance(term, dict) for term in terms):
        raise _shape("nodeSelectorTerms")
    node["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [_with_kernel(t) for t in terms]}
    affinity["nodeAffinity"] = node
    unchanged = affinity == spec.get("affinity")
    return [] if unchanged else [{"op": "add", "path": "/spec/affinity", "value": affinity}]


def _with_kernel(term: Mapping[str, Any]) -> Json:
    expressions = list(term.get("matchExpressions") or [])
    return {**term, "matchExpressions": expressions if _FSGSBASE in expressions else [*expressions, _FSGSBASE]}


def _places(pod: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    """Where each container gets memory -> its size."""
    size = _annotations(pod).get(MEMORY_ANNOTATION)
    places = {ATTESTATION_PATH: _ATTESTATION_SIZE} if settings.simulated else {}
    return places if size is None else {**places, MEMORY: _sized(size)}


def _sized(size: object) -> object:
    """The annotation's size: the API server would call what is none our mistake, and take 0 for no limit."""
    try:
        given = whole(size)
    except Malformed as error:
        raise Malformed(error.code, f"{MEMORY_ANNOTATION}: {error.text}", error.hint) from None
    if given == 0:
        raise Malformed("quantity", f"{MEMORY_ANNOTATION} is no memory at all.", "Write its size, for instance 256Mi.")
    return size


def _memory(
    spec: Mapping[str, Any], containers: list[tuple[str, Mapping[str, Any]]], places: Mapping[str, Any]
) -> Patch:
    """A volume for each container and place, where the pod mounts nothing itself: no two containers share one."""
    present = spec.get("volumes") or []
    if not isinstance(present, list) or not all(isinstance(item, dict) for item in present):
        raise _shape("volumes")
    taken = {item.get("name") for item in present}
    volumes: Patch = []
    patches: Patch = []
    for path, container in containers:
        mounted = container.get("volumeMounts") or []
        if not isinstance(mounted, list) or not all(isinstance(item, dict) for item in mounted):
            raise _shape("volumeMounts")
        mounts: Patch = []
        for place, size in places.items():
            if not any(_holds(item.get("mountPath"), place) for item in mounted):
                name = _free("-".join(["kloister", place.rpartition("/")[2], *path.lower().split("/")[2:]]), taken)
                volumes.append({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}})
                mounts.append({"name": name, "mountPath": place})
        patches += _append(f"{path}/volumeMounts", bool(mounted), mounts)
    return _append("/spec/volumes", bool(present), volumes) + patches


def _free(name: str, taken: set[Any]) -> str:
    """The name, or where it is taken with a number: containers move when another webhook puts one in front."""
    return next(chosen for chosen in chain([name], (f"{name}-{n}" for n in count(2))) if chosen not in taken)


def _holds(mount: object, place: str) -> bool:
    return isinstance(mount, str) and f"{place}/".startswith(mount.rstrip("/") + "/")


def _warnings(requests: list[Request], settings: Settings) -> Iterator[str]:
    if any(request.alias for request in requests):
        yield f"kubernetes.azure.com/sgx_epc_mem_in_MiB is an old name; write {EPC} in bytes, for instance 10Mi"
    total = sum(request.bytes for request in requests)
    if settings.largest and total > settings.largest:
        yield f"the pod asks for {total} bytes of EPC, no node has more than {settings.largest}: it will stay Pending"


def _append(path: str, exists: bool, items: list[Json]) -> Patch:  # noqa: FBT001 (whether the list is there decides the operation)
    if not items:
        return []
    if not exists:
        return [{"op": "add", "path": path, "value": items}]
    return [{"op": "add", "path": f"{path}/-", "value": item} for item in items]


def _annotations(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return _object(_object(pod, "metadata", {}), "annotations", {})


def _object(parent: Mapping[str, Any], name: str, default: Json | None = None) -> Mapping[str, Any]:
    value = parent.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, dict):
        raise _shape(name)
    return value


def _shape(name: str) -> Malformed:
    return Malformed("pod-shape", f"The pod's {name} is not what the API server sends.", "Check the manifest.")
