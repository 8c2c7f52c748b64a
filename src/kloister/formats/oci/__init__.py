"""OCI image documents (image-spec 1.1) and their Docker forms, and the tar headers of their layers. No I/O."""

from kloister.formats.oci.config import ImageConfig
from kloister.formats.oci.descriptor import Descriptor, Platform, digest_of
from kloister.formats.oci.index import Index, parse_layout
from kloister.formats.oci.manifest import Manifest

__all__ = ["Descriptor", "ImageConfig", "Index", "Manifest", "Platform", "digest_of", "parse_layout"]
