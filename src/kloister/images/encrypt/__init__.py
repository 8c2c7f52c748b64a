"""Layers made again in one canonical form, encrypted, and the sealed cache of the secrets that encrypt them."""

from kloister.images.encrypt.key_cache import KeyCache
from kloister.images.encrypt.layers import BlobSink, Part, plain_layer, private_layer

__all__ = ["BlobSink", "KeyCache", "Part", "plain_layer", "private_layer"]
