"""Leader election by a Lease (coordination.k8s.io/v1): of several controllers one writes.

The rules of client-go: a holder renews well within the lease's duration; another takes over only after it has itself
seen no renewal for the whole duration, so that no two clocks are compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.resources.coordination_v1 import Lease

from kloister.errors import Unavailable

LOG = logging.getLogger("kloister.controller")
DURATION = 15  # seconds
RENEW = 5.0  # seconds between renewals


class Leases(Protocol):
    """Where the lease is kept."""

    async def lease(self, namespace: str, name: str) -> Lease | None:
        """The lease, or None."""

    async def write_lease(self, namespace: str, name: str, spec: LeaseSpec, version: str | None) -> None:
        """Create or replace; raises `Conflict`."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A renewal as we saw it: its mark, and when by our own clock."""

    mark: tuple[str | None, datetime | None]
    at: float


class Candidate:
    """One controller that would lead.

    Args:
        leases: where the lease is.
        namespace: of the lease.
        name: of the lease.
        identity: ours, unlike any other's.
    """

    def __init__(self, leases: Leases, namespace: str, name: str, identity: str) -> None:
        self._leases = leases
        self._place = (namespace, name)
        self._identity = identity
        self._seen: _Seen | None = None
        self._held_until = 0.0

    def leads(self, monotonic: float) -> bool:
        """Whether we lead now; false as soon as our lease may have run out, whether or not anybody took it."""
        return monotonic < self._held_until

    async def attempt(self, at: datetime, monotonic: float) -> None:
        """Take or renew the lease if that is allowed; call it every `RENEW` seconds."""
        try:
            lease = await self._leases.lease(*self._place)
            spec = (lease.spec if lease else None) or LeaseSpec()
            if lease is not None and not self._may_take(spec, monotonic):
                self._held_until = 0.0
                return
            version = lease.metadata.resourceVersion if lease and lease.metadata else None
            await self._leases.write_lease(*self._place, self._renewed(spec, at), version)
        except Unavailable as error:
            LOG.warning("lease not renewed: %s", error)
            return
        self._held_until = monotonic + DURATION

    def _may_take(self, spec: LeaseSpec, monotonic: float) -> bool:
        if spec.holderIdentity in (self._identity, None, ""):
            return True
        mark = (spec.holderIdentity, spec.renewTime)
        if self._seen is None or self._seen.mark != mark:
            self._seen = _Seen(mark, monotonic)
        return monotonic - self._seen.at >= (spec.leaseDurationSeconds or DURATION)

    def _renewed(self, spec: LeaseSpec, at: datetime) -> LeaseSpec:
        ours = spec.holderIdentity == self._identity
        return LeaseSpec(
            holderIdentity=self._identity,
            leaseDurationSeconds=DURATION,
            renewTime=at,
            acquireTime=spec.acquireTime if ours else at,
            leaseTransitions=(spec.leaseTransitions or 0) + (0 if ours else 1),
        )
