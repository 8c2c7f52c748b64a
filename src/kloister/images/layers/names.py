"""Names of tar entries: made normal, or refused with the entry's name."""

from __future__ import annotations

from kloister.errors import Malformed
from kloister.formats.enclave.tree import quote
from kloister.formats.oci.limits import Limits

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_RESERVED = b".wh..wh."  # AUFS's own bookkeeping, never content (image-spec 1.1, layer.md, whiteouts)
_NAME_MAX = 255  # bytes of one name, as every Linux file system


def normal_parts(name: bytes, limits: Limits, entry: bytes = b"") -> list[bytes]:
    """The parts of an entry's name; empty for the root itself.

    Args:
        name: the name, or the target of a hard link.
        limits: for the name's length.
        entry: who is to blame, where the name is a hard link's target.

    Raises:
        Malformed: `layer-path-absolute`, `layer-path-escape`, `layer-path-long`, `layer-path-empty`.
    """
    if not name:
        raise Malformed("layer-path-empty", "The layer has an entry without a name.")
    if name.startswith(b"/"):
        raise Malformed("layer-path-absolute", f"The entry {quote(entry or name)} has an absolute name.", HOSTILE)
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Malformed(
            "layer-path-escape", f"The entry {quote(entry or name)} points out of the image's root.", HOSTILE
        )
    if len(name) > limits.path or any(len(part) > _NAME_MAX for part in parts):
        raise Malformed("layer-path-long", f"The entry {quote(name[:_NAME_MAX])}... has a name that no file may have.")
    return parts


HOSTILE = "No honest tool writes such a layer: do not use this image."


def whiteout_target(parts: list[bytes], name: bytes) -> bytes | None:
    """The name that a whiteout removes from the layers below; None when the entry is no whiteout.

    Raises:
        Malformed: `layer-whiteout`, for a whiteout of `.`, `..` or nothing.
    """
    if not parts or not parts[-1].startswith(WHITEOUT):
        return None
    target = parts[-1].removeprefix(WHITEOUT)
    if target in (b"", b".", b".."):
        raise Malformed("layer-whiteout", f"The whiteout {quote(name)} removes nothing that could exist.", HOSTILE)
    return target


def is_reserved(parts: list[bytes]) -> bool:
    """Whether the entry is AUFS bookkeeping, which is left out."""
    return any(part.startswith(_RESERVED) and part != OPAQUE for part in parts)
