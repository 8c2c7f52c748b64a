"""The port that verifiers use, and what this room needs from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from kloister.services.collateral.model import Held, Wanted
from kloister.trust.verifier import Collateral


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, as it is given to everything here.

    Attributes:
        now: the present, aware.
        monotonic: seconds that never go back.
        sleep: waits that many seconds.
    """

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Provided:
    """Collateral with its provenance: one `Held` per document."""

    collateral: Collateral
    items: tuple[Held, ...]

    @property
    def expires(self) -> datetime:
        """When the first document does."""
        return min(held.window.expires for held in self.items)

    def as_json(self) -> list[dict[str, Any]]:
        """Where every part comes from."""
        return [held.as_json() for held in self.items]


class CollateralSource(Protocol):
    """Where a verifier gets its collateral."""

    def collateral(self, wanted: Wanted) -> Provided:
        """All documents for a platform family, each verified when it was admitted.

        Raises:
            Unavailable: `collateral-unreachable`, `collateral-unknown`, `collateral-retired`, `collateral-not-held`.
            Unverified: `collateral-refused`, answers came but none was genuine and current.
        """
