"""Packs for sites without a network: all collateral of a cache in one file, admitted again where it is imported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from kloister.errors import Malformed, Misused
from kloister.formats.wire import canonical_json, load_json
from kloister.services.collateral.model import Held, Item, Window, instant, parse_instant

FORMAT = "kloister-collateral-pack/1"
MAX_SIZE = 256 * 1024 * 1024  # bytes; some thousand platform families and chips
_MAX_ITEMS = 65536
_FIELDS = {"format", "created", "items", "sha256"}


class State(StrEnum):
    """What a validity means for somebody who looks at it now."""

    VALID = "valid"
    EXPIRES_SOON = "expires soon"
    EXPIRED = "expired"
    NOT_YET = "not yet valid"


def state_of(window: Window, at: datetime, warn: timedelta) -> State:
    """How a window stands at `at`; `warn` before its end it is said."""
    if at > window.expires:
        return State.EXPIRED
    if at < window.issued:
        return State.NOT_YET
    return State.EXPIRES_SOON if window.expires - at < warn else State.VALID


@dataclass(frozen=True, slots=True)
class Pack:
    """Documents with their windows, as somebody wrote them together; nothing of it is trusted."""

    created: datetime
    items: tuple[Held, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a pack.

        Raises:
            Malformed: `collateral-pack-size`, `collateral-pack-json`, `collateral-pack-format`,
                `collateral-pack-hash`, `item-key`, `item-field`.
        """
        value = load_json(data, "collateral-pack", MAX_SIZE)
        if not isinstance(value, dict) or set(value) != _FIELDS or value["format"] != FORMAT:
            raise _unfit()
        items = value["items"]
        if not isinstance(items, list) or len(items) > _MAX_ITEMS or not isinstance(value["created"], str):
            raise _unfit()
        if value["sha256"] != _hash(items):
            raise Malformed(
                "collateral-pack-hash", "The pack was changed or damaged after it was written.", "Export it again."
            )
        created = parse_instant(value["created"], "collateral-pack-format")
        return cls(created, tuple(_held(item) for item in items))

    def build(self) -> bytes:
        """The file: canonical JSON, with a hash against accidents. Signatures are what protects against forgers."""
        items = [_as_json(held) for held in self.items]
        return canonical_json(
            {"format": FORMAT, "created": instant(self.created), "items": items, "sha256": _hash(items)}
        )


def _as_json(held: Held) -> dict[str, Any]:
    return {
        **held.item.as_json(),
        "issued": instant(held.window.issued),
        "expires": instant(held.window.expires),
    }


def _held(value: Any) -> Held:
    item = Item.from_json(value)
    times = [value.get(name) for name in ("issued", "expires")]
    if not all(isinstance(time, str) for time in times):
        raise _unfit()
    issued, expires = (parse_instant(time, "collateral-pack-format") for time in times)
    return Held(item, Window(issued, expires))


def _hash(items: Sequence[Any]) -> str:
    try:
        return hashlib.sha256(canonical_json(list(items))).hexdigest()
    except (Misused, ValueError, RecursionError):  # fractions, half characters, depth: nothing that `build` writes
        raise _unfit() from None


def _unfit() -> Malformed:
    return Malformed(
        "collateral-pack-format", "This is no pack of collateral.", "`kloister collateral export` writes one."
    )
