"""Whether the service can do its work: database, keys, collateral."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from kloister.errors import KloisterError
from kloister.services.attestation.evidence import instant
from kloister.services.attestation.instances import Snapshot
from kloister.services.attestation.metrics import Metrics
from kloister.services.attestation.settings import InstanceSettings

_SHOWN = 8  # documents
Window = tuple[str, datetime, datetime]


class Held(Protocol):
    """What holds collateral or revocation lists."""

    def windows(self) -> Sequence[Window]:
        """What is held: its name, when it was issued, when it expires."""


class Checks:
    """What `/readyz` and the metrics look at.

    Args:
        snapshot: asks the database, and opens keys.
        instances: all of them.
        held: collateral and revocation lists.
        metrics: told how old the collateral is.
        at: the time by which collateral is judged.
    """

    def __init__(
        self,
        snapshot: Callable[[InstanceSettings], Snapshot],
        instances: Sequence[InstanceSettings],
        held: Sequence[Held],
        metrics: Metrics,
        at: Callable[[], datetime],
    ) -> None:
        self._snapshot = snapshot
        self._instances = instances
        self._held = held
        self._metrics = metrics
        self._at = at

    def problems(self) -> list[str]:
        """Sentences; none where the service is ready."""
        found = []
        for instance in self._instances:
            try:
                self._snapshot(instance)
            except KloisterError as error:
                found.append(f"{instance.base_url}: {error.code}")
        return found + self._stale()

    def collateral(self) -> list[dict[str, Any]]:
        """What expires first of all that is held."""
        return [
            {"name": name, "issued": instant(issued), "expires": instant(expires)}
            for name, issued, expires in self._windows()[:_SHOWN]
        ]

    def measure(self) -> None:
        """Set the gauges of the collateral's age."""
        at, windows = self._at(), self._windows()
        if windows:
            self._metrics.collateral_age.set((at - min(issued for _, issued, _ in windows)).total_seconds())
            self._metrics.collateral_left.set((min(expires for *_, expires in windows) - at).total_seconds())

    def _stale(self) -> list[str]:
        """Only where nothing of a kind is in force: one old platform family must not take the service away."""
        at = self._at()
        kinds = [held.windows() for held in self._held]
        stale = [windows for windows in kinds if windows and all(expires < at for *_, expires in windows)]
        return [f"the collateral has expired: {name}" for windows in stale for name, *_ in windows[:_SHOWN]]

    def _windows(self) -> list[Window]:
        """Of all, by when they expire."""
        return sorted((one for held in self._held for one in held.windows()), key=lambda one: one[2])
