"""Step 6: the files of /dev/attestation that programs written for Gramine read."""

from __future__ import annotations

from pathlib import Path

from kloister.errors import Unavailable
from kloister.tee.device import Device

DIRECTORY = "dev/attestation"
_NO_DATA = bytes(64)  # report data of the quote that is made before the application can say what it wants quoted


def place_evidence(root: Path, device: Device) -> None:
    """Write `attestation_type`, `my_target_info` and `quote` (over 64 zero bytes), readable by everybody.

    Quotes over other report data come from `/dev/attestation/socket`.

    Raises:
        Denied, Unavailable: the platform's reason.
        Unavailable: `attestation-files`.
    """
    directory = root / DIRECTORY
    contents = {
        "attestation_type": b"dcap",  # no line feed, as in Gramine
        "my_target_info": device.target_info(),
        "quote": device.quote(_NO_DATA),
    }
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, content in contents.items():
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o444)
    except OSError as error:
        raise Unavailable(
            "attestation-files", f"The files of /dev/attestation cannot be written: {error.strerror}."
        ) from None
