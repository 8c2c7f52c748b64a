"""Packs: an image's merged content laid out for one fast read. Untrusted, and rebuilt at will (architecture.md, 5)."""

from kloister.images.pack.building import Pack, build_pack, ensure_pack

__all__ = ["Pack", "build_pack", "ensure_pack"]
