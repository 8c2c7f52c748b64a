"""OCI layouts and archives, written whole or not at all, the same input giving the same bytes."""

from kloister.images.layout.writer import LayoutWriter, open_destination

__all__ = ["LayoutWriter", "open_destination"]
