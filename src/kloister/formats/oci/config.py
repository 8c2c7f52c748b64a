"""The image configuration: what runs, and the plain layers' digests (image-spec 1.1, config.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.oci.descriptor import Platform, require_digest
from kloister.formats.oci.fields import Fields, load_object
from kloister.formats.oci.limits import DEFAULT, Limits
from kloister.formats.wire import canonical_json


@dataclass(frozen=True, slots=True)
class Execution:
    """The `config` object: how a container of the image is started; `other` keeps the fields that we do not know."""

    user: str = ""
    environment: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = ""
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """From the object, checked."""
        return cls(
            user=fields.text("User", ""),
            environment=fields.texts("Env"),
            entrypoint=_arguments(fields, "Entrypoint"),
            command=_arguments(fields, "Cmd"),
            workdir=fields.text("WorkingDir", ""),
            volumes=tuple(sorted(fields.mapping("Volumes"))),
            labels=fields.labels("Labels"),
            exposed_ports=tuple(sorted(fields.mapping("ExposedPorts"))),
            stop_signal=fields.text("StopSignal", ""),
            other=fields.rest,
        )

    def as_json(self) -> dict[str, Any]:
        """The object; what is empty is left out."""
        value: dict[str, Any] = {
            "User": self.user,
            "Env": list(self.environment),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "WorkingDir": self.workdir,
            "Volumes": {path: {} for path in self.volumes},
            "Labels": dict(self.labels),
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "StopSignal": self.stop_signal,
        }
        return {name: item for name, item in value.items() if item} | dict(self.other)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The configuration document.

    Attributes:
        diff_ids: digests of the layers as plain tar, from the base upwards.
        history: as stored; kept because tools show it.
        other: fields that we do not know, for instance `author`.
    """

    platform: Platform
    execution: Execution
    diff_ids: tuple[str, ...]
    created: str = ""
    history: tuple[Mapping[str, Any], ...] = ()
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes, limits: Limits = DEFAULT) -> Self:
        """Read an OCI or Docker image configuration.

        Raises:
            Malformed: `config-size`, `config-json`, `config-field`, `config-digest`, `config-rootfs`,
                `digest-algorithm`.
        """
        fields = load_object(data, "config", limits.config)
        platform = Platform(fields.text("os"), fields.text("architecture"), fields.text("variant", ""))
        execution = Execution.of(Fields(fields.mapping("config"), "config"))
        rootfs = fields.inner("rootfs")
        if rootfs.text("type") != "layers":
            raise Malformed("config-rootfs", "The image's root file system is not made of layers.")
        diff_ids = tuple(require_digest(text, "config") for text in rootfs.texts("diff_ids"))
        history = fields.items("history")
        if not all(isinstance(item, dict) for item in history):
            raise fields.bad("history", "is not a list of objects")
        return cls(platform, execution, diff_ids, fields.text("created", ""), tuple(history), fields.rest)

    def build(self) -> bytes:
        """Canonical JSON: the same configuration always has the same digest."""
        value: dict[str, Any] = {
            **self.platform.as_json(),
            "config": self.execution.as_json(),
            "rootfs": {"type": "layers", "diff_ids": list(self.diff_ids)},
        }
        if self.created:
            value["created"] = self.created
        if self.history:
            value["history"] = [dict(item) for item in self.history]
        return canonical_json(value | dict(self.other))


def _arguments(fields: Fields, name: str) -> tuple[str, ...]:
    values = fields.texts(name)
    if any("\0" in value for value in values):
        raise fields.bad(name, "holds a NUL character")
    return values
