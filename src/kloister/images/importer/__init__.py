"""Import: a directory or a tar archive becomes an OCI image of one layer."""

from kloister.images.importer.importing import Imported, import_image
from kloister.images.importer.options import ImportOptions

__all__ = ["ImportOptions", "Imported", "import_image"]
