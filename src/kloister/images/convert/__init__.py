"""Makes an existing image confidential: measures it, pins its broker, signs, encrypts, emits the policy to approve."""

from kloister.images.convert.options import Conversion, ConvertOptions, Progress
from kloister.images.convert.service import convert, predict
from kloister.images.convert.sidecars import Sidecars
from kloister.images.convert.signing_key import load_signing_key, make_signing_key

__all__ = [
    "Conversion",
    "ConvertOptions",
    "Progress",
    "Sidecars",
    "convert",
    "load_signing_key",
    "make_signing_key",
    "predict",
]
