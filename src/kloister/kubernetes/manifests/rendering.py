"""The objects of a form, for `kloister kube install`: what `kubectl kustomize` gives, and what older servers take.

Two things of Kustomize are done here: strategic merge patches whose lists have names as keys, and images' names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from kloister.kubernetes.names import MIB
from kloister.kubernetes.node.epc import parse_sizes

Json = dict[str, Any]
_FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount")
_MATCH_CONDITIONS = 28  # minor version in which they are there without a feature gate
_POLICY_V1 = 21  # minor version of policy/v1
ADMISSION_POLICIES = 30  # minor version in which they are there, and tokens name their node
_ADMISSION = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator says.

    Attributes:
        simulate: EPC of simulated nodes, `1Gi` or one size for each NUMA node; empty for real SGX.
        registry: HOST/PATH/ before the images' names, with the slash.
        tag: of the images; empty: the manifests' own.
        minor: the server's version is 1.`minor`.
        broker: HOST:PORT of a broker elsewhere; empty: ours is installed.
    """

    simulate: str = ""
    registry: str = ""
    tag: str = ""
    minor: int = ADMISSION_POLICIES
    broker: str = ""


def render(choice: Choice) -> list[Json]:
    """The objects in the order in which they can be applied. Raises `Misconfigured` `simulated-epc`."""
    objects = _form("simulated" if choice.simulate else "base")
    for document in objects:
        _images(document, choice)
        _sizes(document, choice)
        _older(document, choice.minor)
    wanted = [item for item in objects if _wanted(item, choice)]
    for document in wanted:
        _arguments(document, choice)
    return sorted(wanted, key=lambda item: _FIRST.index(item["kind"]) if item["kind"] in _FIRST else len(_FIRST))


def _wanted(document: Json, choice: Choice) -> bool:
    if document["kind"] in _ADMISSION:
        return choice.minor >= ADMISSION_POLICIES
    return not choice.broker or "broker" not in document["metadata"]["name"]


def _form(name: str) -> list[Json]:
    folder = files(__package__) / name
    kustomization = _read((folder / "kustomization.yaml").read_text())[0]
    objects: list[Json] = []
    for resource in kustomization["resources"]:
        below = resource.removeprefix("../")
        objects += _form(below) if below != resource else _read((folder / resource).read_text())
    for patch in kustomization.get("patches", []):
        for change in _read((folder / patch["path"]).read_text()):
            _patch(objects, change)
    for image in kustomization["images"]:
        _tagged(objects, image["name"], image["newTag"])
    return objects


def _read(text: str) -> list[Json]:
    return [item for item in YAML(typ="safe", pure=True).load_all(text) if item]


def _patch(objects: list[Json], change: Json) -> None:
    for index, document in enumerate(objects):
        if _key(document) == _key(change):
            objects[index] = merged(document, change)


def _key(document: Mapping[str, Any]) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def merged(base: Any, change: Any) -> Any:
    """A strategic merge: objects by member, lists of named objects by name (new ones last), all else replaced."""
    if isinstance(base, dict) and isinstance(change, dict):
        return {**base, **{name: merged(base.get(name), value) for name, value in change.items()}}
    if _named(base) and _named(change):
        changes = {item["name"]: item for item in change}
        old = [merged(item, changes.pop(item["name"], {})) for item in base]
        return [*old, *changes.values()]
    return copy.deepcopy(change)


def _named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value)


def _containers(document: Json) -> Iterator[Json]:
    template = (document.get("spec") or {}).get("template") or {}
    yield from (template.get("spec") or {}).get("containers") or []


def _tagged(objects: list[Json], name: str, tag: str) -> None:
    for container in (container for document in objects for container in _containers(document)):
        if container["image"] == name:
            container["image"] = f"{name}:{tag}"


def _images(document: Json, choice: Choice) -> None:
    for container in _containers(document):
        name, _, tag = container["image"].partition(":")
        container["image"] = f"{choice.registry}{name}:{choice.tag or tag}"


def _sizes(document: Json, choice: Choice) -> None:
    """The same EPC for agent and platform."""
    values = {"KLOISTER_NODE_SIMULATE": choice.simulate, "KLOISTER_PLATFORM_EPC": _mib(choice.simulate)}
    for container in _containers(document):
        for variable in container.get("env", []):
            if variable["name"] in values:
                variable["value"] = values[variable["name"]]


def _mib(sizes: str) -> str:
    """`32Gi,512Mi` as the platform wants it: `32768,512`."""
    return ",".join(str(section.bytes // MIB) for section in parse_sizes(sizes)) if sizes else ""


def _older(document: Json, minor: int) -> None:
    if document["kind"] == "MutatingWebhookConfiguration" and minor < _MATCH_CONDITIONS:
        for webhook in document["webhooks"]:
            del webhook["matchConditions"]
    if document["kind"] == "PodDisruptionBudget" and minor < _POLICY_V1:
        document["apiVersion"] = "policy/v1beta1"


def _arguments(document: Json, choice: Choice) -> None:
    if not choice.broker:
        return
    for container in _containers(document):
        given = container.get("args", [])
        container["args"] = [f"--broker={choice.broker}" if item.startswith("--broker=") else item for item in given]
