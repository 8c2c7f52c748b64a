"""Image manifests: a configuration and layers from the base upwards (image-spec 1.1, manifest.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.oci import mediatypes
from kloister.formats.oci.descriptor import Descriptor
from kloister.formats.oci.fields import load_object
from kloister.formats.oci.limits import DEFAULT, Limits
from kloister.formats.wire import canonical_json

_SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform; `other` keeps the fields that we do not know."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = mediatypes.OCI_MANIFEST
    annotations: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes, limits: Limits = DEFAULT) -> Self:
        """Read an OCI manifest or a Docker manifest of version 2, schema 2.

        Raises:
            Malformed: `manifest-size`, `manifest-json`, `manifest-field`, `manifest-version`, `manifest-digest`,
                `manifest-layers`, `digest-algorithm`.
        """
        fields = load_object(data, "manifest", limits.manifest)
        if fields.number("schemaVersion") != _SCHEMA:
            hint = "Copy the image with a current tool (skopeo copy); version 1 was retired in 2016."
            raise Malformed("manifest-version", "Only manifests of schema version 2 are read.", hint)
        media_type = fields.text("mediaType", mediatypes.OCI_MANIFEST)
        if media_type not in mediatypes.MANIFESTS or "manifests" in fields.rest:
            raise fields.bad("mediaType", "is not that of an image manifest")
        config = Descriptor.of(fields.inner("config").rest, "manifest")
        layers = tuple(Descriptor.of(layer, "manifest") for layer in fields.items("layers"))
        if len(layers) > limits.layers:
            raise Malformed("manifest-layers", f"The image has {len(layers)} layers; at most {limits.layers} are read.")
        return cls(config, layers, media_type, fields.labels("annotations"), fields.rest)

    def build(self) -> bytes:
        """Canonical JSON: the same manifest always has the same digest."""
        value: dict[str, Any] = {
            "schemaVersion": _SCHEMA,
            "mediaType": self.media_type,
            "config": self.config.as_json(),
            "layers": [layer.as_json() for layer in self.layers],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return canonical_json(value | dict(self.other))
