"""Descriptors: media type, digest and size of a blob (image-spec 1.1, descriptor.md)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.oci.fields import Fields

REF_NAME = "org.opencontainers.image.ref.name"  # annotation of an index's descriptor: the tag (annotations.md)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_OTHER_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[A-Za-z0-9=_-]+")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


def digest_of(data: bytes) -> str:
    """`sha256:` and 64 lower-case hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def require_digest(text: str, what: str) -> str:
    """The digest, if it is SHA-256 written in the one allowed way.

    Raises:
        Malformed: `{what}-digest`, `digest-algorithm`.
    """
    if _DIGEST.fullmatch(text):
        return text
    if _OTHER_DIGEST.fullmatch(text) and not text.startswith("sha256:"):
        hint = "Copy the image with SHA-256 digests, which every registry and tool writes by default."
        raise Malformed("digest-algorithm", f"The {what} names a blob by {text.partition(':')[0]}, not SHA-256.", hint)
    raise Malformed(f"{what}-digest", f"The {what} holds a digest that is not sha256: and 64 hexadecimal digits.")


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system and architecture in Go's names (GOOS, GOARCH)."""

    os: str
    architecture: str
    variant: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """From the descriptor's `platform` object."""
        return cls(fields.text("os"), fields.text("architecture"), fields.text("variant", ""), fields.rest)

    def as_json(self) -> dict[str, Any]:
        """The object for a descriptor."""
        variant = {"variant": self.variant} if self.variant else {}
        return {"os": self.os, "architecture": self.architecture, **variant, **self.other}

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob by media type, `sha256:` digest and size in bytes; `other` keeps what we do not know (urls, data)."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hex(self) -> str:
        """The digest without its algorithm: the name of the blob's file in a layout."""
        return self.digest.removeprefix("sha256:")

    @property
    def tag(self) -> str:
        """The tag under which an index lists it, or nothing."""
        return self.annotations.get(REF_NAME, "")

    @classmethod
    def of(cls, value: Any, what: str) -> Self:
        """From a JSON object inside document `what`.

        Raises:
            Malformed: `{what}-field`, `{what}-digest`, `digest-algorithm`.
        """
        fields = Fields(value, what)
        media_type = fields.text("mediaType")
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise fields.bad("mediaType", "is not a media type")
        digest, size = require_digest(fields.text("digest"), what), fields.number("size")
        annotations = fields.labels("annotations")
        platform = Platform.of(fields.inner("platform")) if "platform" in fields.rest else None
        return cls(media_type, digest, size, annotations, platform, fields.rest)

    def as_json(self) -> dict[str, Any]:
        """The object for a manifest or an index."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform:
            value["platform"] = self.platform.as_json()
        return value | dict(self.other)
