"""A container's request of EPC, under either name, and the resources it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kloister.errors import Malformed
from kloister.kubernetes.names import ENCLAVE, EPC, EPC_BLOCK, EPC_MIB, MIB, PROVISION
from kloister.kubernetes.quantity import LARGEST, whole

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What one container asks for.

    Attributes:
        bytes: EPC in bytes, more than 0.
        alias: it was asked for in MiB under Azure's older name.
    """

    bytes: int
    alias: bool


def requested(container: Mapping[str, Any]) -> Request | None:
    """The EPC that a container asks for, or None; `Malformed` `quantity`, `epc-conflict`, `pod-shape`."""
    found = {(_bytes(name, value), name == EPC_MIB) for name, value in _named(container)}
    sizes = {size for size, _ in found}
    if len(sizes) > 1:
        raise Malformed(
            "epc-conflict",
            f"Container {container.get('name')!r} asks for different amounts of EPC: {sorted(sizes)} bytes.",
            f"Name one amount, as resources.limits {EPC}.",
        )
    size = next(iter(sizes), 0)
    return Request(size, alias=any(alias for _, alias in found)) if size else None


def resources(path: str, container: Mapping[str, Any], request: Request, block: int, *, provision: bool) -> list[Json]:
    """The patch that replaces the container's resources; requests equal limits, as extended resources must."""
    wanted = {EPC: str(request.bytes), ENCLAVE: "1", EPC_BLOCK: str(-(-request.bytes // block))}
    if provision:
        wanted[PROVISION] = "1"
    present = container.get("resources") or {}
    changed = {**present, **{field: _merged(present.get(field) or {}, wanted) for field in ("limits", "requests")}}
    return [] if changed == present else [{"op": "add", "path": f"{path}/resources", "value": changed}]


def _merged(given: Mapping[str, Any], wanted: Mapping[str, str]) -> Json:
    return {**{name: value for name, value in given.items() if name != EPC_MIB}, **wanted}


def _named(container: Mapping[str, Any]) -> list[tuple[str, Any]]:
    given = _object(container.get("resources"))
    fields = [_object(given.get(field)) for field in ("limits", "requests")]
    return [(name, field[name]) for field in fields for name in (EPC, EPC_MIB) if name in field]


def _object(value: object) -> Json:
    if value is not None and not isinstance(value, dict):
        raise Malformed(
            "pod-shape", "A container's resources are not what the API server sends.", "Check the manifest."
        )
    return value or {}


def _bytes(name: str, value: object) -> int:
    size = whole(value) * (MIB if name == EPC_MIB else 1)
    if size > LARGEST:
        raise Malformed("quantity", f"{str(value)[:40]!r} MiB are too many.", "Ask for what the enclave needs.")
    return size
