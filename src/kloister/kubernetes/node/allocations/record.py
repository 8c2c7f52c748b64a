"""What is remembered of an allocation while the agent is away."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from kloister.errors import Malformed
from kloister.kubernetes.node.epc import MOST_BLOCKS

LIMIT = 256 * 1024
"""Bytes of a record: 8,192 ids of a dozen characters are 120 KB."""

_ID = re.compile(r"[a-z2-7]{20}", re.ASCII)  # entropy.identifier
_BLOCK = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)  # an id of a device has at most 63 characters (api.proto)
_MOST_BYTES = 1 << 48


@dataclass(frozen=True, slots=True)
class Allocation:
    """The EPC of one container.

    Attributes:
        id: a random name, that of its folder.
        blocks: ids of its devices.
        size: bytes of EPC that they stand for.
        made: seconds since 1970.
    """

    id: str
    blocks: tuple[str, ...]
    size: int
    made: int

    def build(self) -> bytes:
        """The record's bytes."""
        value = {"id": self.id, "blocks": list(self.blocks), "bytes": self.size, "made": self.made}
        return json.dumps(value, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Allocation:
        """The record in these bytes. Raises `Malformed` `allocation-record`."""
        try:
            value = json.loads(data) if len(data) <= LIMIT else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or value.keys() != {"id", "blocks", "bytes", "made"}:
            raise _damaged()
        blocks = value["blocks"]
        if not (_is_text(value["id"], _ID) and isinstance(blocks, list) and 0 < len(blocks) <= MOST_BLOCKS):
            raise _damaged()
        if not all(_is_text(block, _BLOCK) for block in blocks) or len(set(blocks)) != len(blocks):
            raise _damaged()
        if not (_is_count(value["bytes"]) and _is_count(value["made"])):
            raise _damaged()
        return cls(value["id"], tuple(blocks), value["bytes"], value["made"])


def _is_text(value: Any, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_BYTES


def _damaged() -> Malformed:
    return Malformed("allocation-record", "The record of an allocation is damaged.", "It is set aside; its pod ends.")
