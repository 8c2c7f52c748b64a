"""Whether the service can do its work: database, keys, collateral."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from kloister.errors import KloisterError
from kloister.services.attestation.collateral import CollateralPort
from kloister.services.attestation.instances import Snapshot
from kloister.services.attestation.metrics import Metrics
from kloister.services.attestation.settings import InstanceSettings


class Checks:
    """What `/readyz` and the metrics look at.

    Args:
        snapshot: asks the database, and opens keys.
        instances: all of them.
        collateral: what is held.
        metrics: told how old the collateral is.
        at: the time by which collateral is judged.
    """

    def __init__(
        self,
        snapshot: Callable[[InstanceSettings], Snapshot],
        instances: Sequence[InstanceSettings],
        collateral: CollateralPort,
        metrics: Metrics,
        at: Callable[[], datetime],
    ) -> None:
        self._snapshot = snapshot
        self._instances = instances
        self._collateral = collateral
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

    def measure(self) -> None:
        """Set the gauges of the collateral's age."""
        at, windows = self._at(), self._collateral.windows()
        if windows:
            self._metrics.collateral_age.set((at - min(issued for _, issued, _ in windows)).total_seconds())
            self._metrics.collateral_left.set((min(expires for *_, expires in windows) - at).total_seconds())

    def _stale(self) -> list[str]:
        """Only where nothing held is in force: one old platform family must not take the service away."""
        at, windows = self._at(), self._collateral.windows()
        if windows and all(expires < at for *_, expires in windows):
            return [f"the collateral has expired: {name}" for name, *_ in windows[:8]]
        return []
