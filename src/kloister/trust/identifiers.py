"""What names one machine for ever, whoever runs it: PPID, platform instance id, CHIP_ID. Outputs carry a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

NAMES = frozenset({"ppid", "platform_instance_id", "chip_id"})


def hidden(value: str) -> str:
    """A hash in the place of an identifier in hexadecimal; an identifier that is masked (all zeros) stays as it is."""
    data = bytes.fromhex(value)
    return f"sha256:{hashlib.sha256(data).hexdigest()}" if any(data) else value


def hide(claims: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
    """The claims with every identifier hidden."""
    return {name: hidden(str(value)) if name in NAMES else value for name, value in claims.items()}
