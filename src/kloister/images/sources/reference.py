"""References to images, in skopeo's words: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:REF]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from kloister.errors import Misconfigured

_HINT = "Write oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]."
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:@-]{0,254}")


class Transport(StrEnum):
    """How an image is stored."""

    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


@dataclass(frozen=True, slots=True)
class Reference:
    """A place on this machine, and the name of one image in it (empty: the only one)."""

    transport: Transport
    path: Path
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.transport.value}:{self.path}" + (f":{self.tag}" if self.tag else "")


def parse_reference(text: str) -> Reference:
    """Read a reference; the path ends at the first colon, as with skopeo.

    Raises:
        Misconfigured: `reference-transport`, `reference-path`, `reference-tag`.
    """
    name, colon, rest = text.partition(":")
    if not colon or name not in {item.value for item in Transport}:
        raise Misconfigured("reference-transport", f"{text!r} is not an image on this machine.", _HINT)
    path, _, tag = rest.partition(":")
    if not path or "\0" in path:
        raise Misconfigured("reference-path", f"{text!r} names no file or directory.", _HINT)
    if tag and not _TAG.fullmatch(tag):
        raise Misconfigured("reference-tag", f"{tag!r} in {text!r} is not a tag.", _HINT)
    return Reference(Transport(name), Path(path), tag)


def familiar_name(name: str) -> str:
    """A Docker name without the default registry and with its tag: `docker.io/library/a` is `a:latest`."""
    short = name.removeprefix("docker.io/").removeprefix("library/")
    last = short.rpartition("/")[2]
    return short if ":" in last or "@" in last else short + ":latest"
