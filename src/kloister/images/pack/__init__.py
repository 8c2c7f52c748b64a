"""Packs: an image's merged content laid out for one fast read. Untrusted, and rebuilt at will (architecture.md, 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kloister.images.pack.opening import Pack

if TYPE_CHECKING:
    from kloister.images.pack.building import build_pack, ensure_pack

__all__ = ["Pack", "build_pack", "ensure_pack"]


def __getattr__(name: str) -> Any:
    """Load the builder when it is wanted: most launches find their pack built, and should not wait 20 ms for it."""
    if name in __all__:
        from kloister.images.pack import building  # noqa: PLC0415 -- see above

        return getattr(building, name)
    raise AttributeError(name)
