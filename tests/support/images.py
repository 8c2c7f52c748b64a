"""Small images for tests: layers from raw tar entries, so that hostile ones can be written too."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path

from kloister.formats.oci import mediatypes
from kloister.formats.oci.config import Execution, ImageConfig
from kloister.formats.oci.descriptor import Descriptor, Platform
from kloister.formats.oci.manifest import Manifest
from kloister.formats.oci.tar import END, TarHeader, TarKind, build_header
from kloister.images.layout import LayoutWriter

Item = tuple[TarHeader, bytes]


def file(name: str, content: bytes = b"", mode: int = 0o644, uid: int = 0, mtime: int = 5) -> Item:
    return TarHeader(name.encode(), TarKind.FILE, mode, uid, uid, len(content), mtime), content


def directory(name: str, mode: int = 0o755) -> Item:
    return TarHeader(name.encode(), TarKind.DIRECTORY, mode, mtime=5), b""


def symlink(name: str, target: str) -> Item:
    return TarHeader(name.encode(), TarKind.SYMLINK, 0o777, mtime=5, target=target.encode()), b""


def hardlink(name: str, target: str) -> Item:
    return TarHeader(name.encode(), TarKind.HARDLINK, 0o644, mtime=5, target=target.encode()), b""


def special(name: str, kind: TarKind) -> Item:
    return TarHeader(name.encode(), kind, 0o600, mtime=5), b""


def tar(*items: Item) -> bytes:
    return b"".join(build_header(header) + content + bytes(-len(content) % 512) for header, content in items) + END


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_image(
    path: Path,
    layers: Sequence[bytes],
    *,
    tag: str = "latest",
    compress: bool = True,
    diff_ids: Sequence[str] | None = None,
    execution: Execution | None = None,
    platform: Platform | None = None,
) -> Descriptor:
    """Write a layout with one image of these plain tars; `diff_ids` may lie."""
    with LayoutWriter(path) as writer:
        media_type = mediatypes.OCI_LAYER_GZIP if compress else mediatypes.OCI_LAYER
        stored = [gzip.compress(layer, 1, mtime=0) if compress else layer for layer in layers]
        descriptors = tuple(writer.put_blob(media_type, layer) for layer in stored)
        config = ImageConfig(
            platform or Platform("linux", "amd64"),
            execution or Execution(entrypoint=("/bin/app",)),
            tuple(diff_ids if diff_ids is not None else (digest(layer) for layer in layers)),
        )
        return writer.add_manifest(Manifest(writer.add_config(config), descriptors), tag)


ENCLAVE_DOCUMENTS = tuple(
    file(f".kloister/enclave/{name}", f"bytes of {name}".encode())
    for name in ("manifest.sgx", "sigstruct", "tree", "launch.json")
)
