"""`kloister run` of an ordinary image: converted first, without a broker, into the local store."""

from __future__ import annotations

from kloister import clock
from kloister.images.convert import ConvertOptions, convert, load_signing_key, make_signing_key
from kloister.images.runtime_layer import runtime_layer
from kloister.images.sources import SourceImage
from kloister.serve.state import State

CONVERTED = "dev.kloister.mrenclave"  # annotation of a converted image's manifest
_DIGITS = 32  # of the source's digest in the tag: enough to tell any two images apart


def is_converted(image: SourceImage) -> bool:
    """Whether the image says that it was converted; the enclave, not this word, decides whether that is so."""
    return CONVERTED in image.manifest.annotations


def local_name(image: SourceImage) -> str:
    """The name in the local store under which an ordinary image's conversion is kept."""
    runtime = runtime_layer()
    return "-".join(["run", *(one.removeprefix("sha256:")[:_DIGITS] for one in (image.digest, runtime.digest))])


def convert_plain(state: State, image: SourceImage) -> str:
    """Convert an ordinary image into the local store and return the reference of the result.

    The result has no broker: the application runs with measured files, arguments and environment, and gets no secret.

    Raises:
        Malformed, Misconfigured: what conversion refuses.
    """
    destination = f"oci:{state.images}:{local_name(image)}"
    path = state.keys / "signing.pem"
    key = load_signing_key(path) if path.exists() else make_signing_key(path)
    convert(
        image, destination, runtime_layer(), key, ConvertOptions(date=clock.now().date(), policy=("default", "run"))
    )
    return destination
