"""What names one machine for ever, whoever runs it: PPID, platform instance id, CHIP_ID. Outputs carry a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

NAMES = frozenset({"ppid", "platform_instance_id", "chip_id"})
_ENDINGS = tuple(name.replace("_", "") for name in sorted(NAMES))


def hidden(value: str) -> str:
    """A hash in the place of an identifier in hexadecimal; an identifier that is masked (all zeros) stays as it is."""
    try:
        data = bytes.fromhex(value)
    except ValueError:  # a token's, in another encoding
        data = value.encode()
    return f"sha256:{hashlib.sha256(data).hexdigest()}" if any(data) else value


def hide(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims with every identifier hidden, however deep it stands, and however a token spells its name."""
    return {name: _hidden_by_name(name, value) for name, value in claims.items()}


def _hidden_by_name(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return hide(value)
    if isinstance(value, list):
        return [_hidden_by_name(name, each) for each in value]
    plain = name.lower().replace("-", "").replace("_", "").replace(".", "")
    return hidden(str(value)) if value is not None and plain.endswith(_ENDINGS) else value
