"""What is kept under some roots, for packs and for people: listed, looked at, taken from elsewhere."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from kloister.errors import KloisterError, Unverified
from kloister.services.collateral.model import Held, Item, Kind, Window

if TYPE_CHECKING:
    from kloister.services.collateral.source import Cache

Admit = Callable[[Item, datetime], Window]
Taken = tuple[list[Held], list[tuple[Item, KloisterError]]]  # what is held now; what was refused and why


class Holding(ABC):
    """The documents of one maker in a cache.

    Args:
        cache: where they are.
        anchor: under which roots (`anchor_of`).
    """

    kinds: ClassVar[tuple[Kind, ...]]  # whoever vouches for others comes first

    def __init__(self, cache: Cache, anchor: str) -> None:
        self._cache = cache
        self._anchor = anchor

    @abstractmethod
    def admission(self, item: Item) -> Admit:
        """What judges an item, by what is held. Raises `Unavailable`: `collateral-not-held`."""

    @abstractmethod
    def window(self, item: Item) -> Window:
        """The window that an item claims, unverified. Raises `Malformed`."""

    def held(self) -> list[Held]:
        """All that is held under these roots and valid now, sorted by what it is."""
        return [held for item in self._items() if (held := self._admitted(item)) is not None]

    def windows(self) -> list[Held]:
        """All that is held under these roots, expired or not, with the windows that it claims; unverified."""
        found = []
        for item in self._items():
            with contextlib.suppress(KloisterError):
                found.append(Held(item, self.window(item)))
        return found

    def take(self, items: Sequence[Item]) -> Taken:
        """Admit items that others fetched, a pack's; each is verified as if it were fetched now."""
        taken: list[Held] = []
        refused: list[tuple[Item, KloisterError]] = []
        for item in sorted(items, key=lambda one: self.kinds.index(one.key.kind)):
            moved = replace(item, key=item.key.under(self._anchor))
            try:
                admit = self.admission(moved)
                taken.append(self._cache.put(Held(moved, admit(moved, self._cache.now())), admit))
            except KloisterError as error:
                refused.append((item, error))
        return taken, refused

    def _items(self) -> list[Item]:
        return [
            item
            for item in self._cache.items()
            if item.key.kind in self.kinds and item.key == item.key.under(self._anchor)
        ]

    def _admitted(self, item: Item) -> Held | None:
        try:
            return Held(item, self.admission(item)(item, self._cache.now()))
        except KloisterError:
            return None


class Shelf:
    """The documents of all makers together.

    Args:
        holdings: one per maker whose roots are trusted.
    """

    def __init__(self, holdings: Sequence[Holding]) -> None:
        self._holdings = tuple(holdings)
        self._by_kind: Mapping[Kind, Holding] = {kind: one for one in holdings for kind in one.kinds}

    def held(self) -> list[Held]:
        """As `Holding.held`."""
        return [held for one in self._holdings for held in one.held()]

    def windows(self) -> list[Held]:
        """As `Holding.windows`."""
        return [held for one in self._holdings for held in one.windows()]

    def take(self, items: Sequence[Item]) -> Taken:
        """As `Holding.take`; items of makers whose roots are not trusted are refused."""
        taken: list[Held] = []
        refused = [(item, _untrusted(item)) for item in items if item.key.kind not in self._by_kind]
        for one in self._holdings:
            more, others = one.take([item for item in items if item.key.kind in one.kinds])
            taken += more
            refused += others
        return taken, refused


def _untrusted(item: Item) -> KloisterError:
    return Unverified(
        "root-untrusted",
        f"No root is trusted here that could vouch for {item.key.label}.",
        "If its root is to be trusted, name it: --root FILE.",
    )
