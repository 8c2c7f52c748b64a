"""A converted image by its name, measured again."""

from __future__ import annotations

from pathlib import Path

from kloister.images.measuring import MeasuredImage, measure_image
from kloister.images.sources import open_source
from kloister.serve.launch import TRANSPORTS, reference
from kloister.serve.state import State


def measured(name: str, state: Path | None = None) -> MeasuredImage:
    """The measurement of an image: a local name of the embedded stack, or a reference with a transport.

    Raises:
        Misconfigured: `image-unknown`; and as `measure_image`.
    """
    place = name if name.startswith(TRANSPORTS) else reference(State.at(state), name)
    with open_source(place) as image:
        return measure_image(image)
