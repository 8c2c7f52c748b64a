"""The runtime layer as a value: what is in it, and the bytes of its one blob."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kloister.errors import Malformed

MAX_COMPRESSED = 15 << 20  # bytes: what the layer may add to an image (issue 2, point 3)


@dataclass(frozen=True, slots=True)
class RuntimeLayer:
    """A built layer, kept in the cache.

    Attributes:
        version: Kloister's version and what is inside, for instance `0.1.0-1+python3.11.7+cryptography50.0.2`.
        digest: of the compressed blob, `sha256:..`.
        diff_id: of the tar, `sha256:..`.
        size: bytes of the blob.
        blob: the file that holds the blob.
        loader: the file that holds the dynamic loader, for measuring.
    """

    version: str
    digest: str
    diff_id: str
    size: int
    blob: Path
    loader: Path

    def loader_bytes(self) -> bytes:
        """The dynamic loader, an ELF that starts at 0: the first code of a simulated enclave."""
        return self.loader.read_bytes()

    def as_json(self) -> dict[str, Any]:
        """What the cache's index says."""
        return {"version": self.version, "digest": self.digest, "diffId": self.diff_id, "size": self.size}

    @classmethod
    def from_json(cls, value: Any, directory: Path) -> Self:
        """Read back from the cache, blob verified by its digest.

        Raises:
            Malformed: `runtime-cache`.
        """
        try:
            layer = cls(
                version=str(value["version"]),
                digest=str(value["digest"]),
                diff_id=str(value["diffId"]),
                size=int(value["size"]),
                blob=directory / "layer.tar.gz",
                loader=directory / "ld.so",
            )
        except (KeyError, TypeError, ValueError):
            raise Malformed("runtime-cache", "The index of the cached runtime layer is damaged.") from None
        if digest_of(layer.blob.read_bytes()) != layer.digest:
            raise Malformed("runtime-cache", "The cached runtime layer is damaged.")
        return layer


def digest_of(data: bytes) -> str:
    """An OCI digest."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
