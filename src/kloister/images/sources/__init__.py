"""Where images come from: OCI layouts and archives of both kinds, every byte checked against its digest."""

from kloister.images.sources.image import SourceImage
from kloister.images.sources.merge import merge_image
from kloister.images.sources.opening import open_source

__all__ = ["SourceImage", "merge_image", "open_source"]
