"""From a sample's name to its image."""

from __future__ import annotations

from kloister.errors import Misconfigured
from kloister.images.importer import Imported, import_image
from kloister.images.samples import clinic, redis
from kloister.images.sources.reference import parse_reference
from kloister.images.staging import staging

SAMPLES = {
    "clinic": (clinic.assemble_clinic, clinic.OPTIONS),
    "redis": (redis.assemble_redis, redis.OPTIONS),
}


def make_sample(name: str, destination: str) -> Imported:
    """Assemble a sample (`clinic` or `redis`) and write its image.

    Args:
        name: one of `SAMPLES`.
        destination: `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.

    Raises:
        Misconfigured: `sample-*`, `destination-*`.
        Unavailable: `sample-fetch`.
    """
    if name not in SAMPLES:
        raise Misconfigured(
            "sample-unknown", f"There is no sample {name!r}.", f"Samples: {', '.join(sorted(SAMPLES))}."
        )
    assemble, options = SAMPLES[name]
    with staging(parse_reference(destination).path) as scratch:  # beside the image: what a kill leaves goes next time
        assemble(scratch / "root")
        return import_image(scratch / "root", destination, options)
