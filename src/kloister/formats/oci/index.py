"""Image indexes and the marker file of a layout (image-spec 1.1, image-index.md and image-layout.md)."""

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

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_SCHEMA = 2
_MAX_LAYOUT = 4096  # bytes of the marker file; it has 30


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests by tag or platform; `other` keeps the fields that we do not know."""

    manifests: tuple[Descriptor, ...] = ()
    media_type: str = mediatypes.OCI_INDEX
    annotations: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes, limits: Limits = DEFAULT) -> Self:
        """Read an OCI index or a Docker manifest list.

        Raises:
            Malformed: `index-size`, `index-json`, `index-field`, `index-version`, `index-digest`, `digest-algorithm`.
        """
        fields = load_object(data, "index", limits.manifest)
        if fields.number("schemaVersion") != _SCHEMA:
            raise Malformed("index-version", "Only indexes of schema version 2 are read.")
        media_type = fields.text("mediaType", mediatypes.OCI_INDEX)
        if media_type not in mediatypes.INDEXES or "layers" in fields.rest:
            raise fields.bad("mediaType", "is not that of an image index")
        manifests = tuple(Descriptor.of(item, "index") for item in fields.items("manifests"))
        return cls(manifests, media_type, fields.labels("annotations"), fields.rest)

    def build(self) -> bytes:
        """Canonical JSON."""
        value: dict[str, Any] = {
            "schemaVersion": _SCHEMA,
            "mediaType": self.media_type,
            "manifests": [manifest.as_json() for manifest in self.manifests],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return canonical_json(value | dict(self.other))

    def with_tag(self, manifest: Descriptor) -> Index:
        """This index with the manifest in the place of what had its tag; sorted, whatever the order of writing."""
        kept = [old for old in self.manifests if old.tag != manifest.tag]
        ordered = sorted([*kept, manifest], key=lambda item: (item.tag, item.digest))
        return Index(tuple(ordered), self.media_type, self.annotations, self.other)


def parse_layout(data: bytes) -> None:
    """Check the file `oci-layout`.

    Raises:
        Malformed: `layout-size`, `layout-json`, `layout-field`, `layout-version`.
    """
    version = load_object(data, "layout", _MAX_LAYOUT).text("imageLayoutVersion")
    if not version.startswith("1."):
        raise Malformed("layout-version", f"OCI layouts of version 1 are read, this one has {version[:20]!r}.")
