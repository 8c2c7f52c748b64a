"""What is in force on each instance, read again when any replica has changed something."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from kloister.services.attestation.keys import KeyKeeper, KeyRing
from kloister.services.attestation.kinds import Kind
from kloister.services.attestation.policies import ActivePolicy
from kloister.services.attestation.repeats import Repeats
from kloister.services.attestation.settings import InstanceSettings
from kloister.services.storage.attestation import AttestationStore
from kloister.services.storage.attestation_records import ManagementCertificate

_FRESH = 60  # seconds that a key ring is used before it is looked at again: keys begin and end by the clock


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An instance at one moment."""

    generation: int
    until: int  # unix seconds
    ring: KeyRing
    policies: dict[Kind, ActivePolicy] = field(repr=False)
    certificates: Sequence[ManagementCertificate] = field(repr=False)
    repeats: Repeats = field(default_factory=Repeats, repr=False)  # what was accepted while all this was in force


class Instances:
    """Snapshots of instances, shared by threads."""

    def __init__(self, store: AttestationStore, keys: KeyKeeper) -> None:
        self._store = store
        self._keys = keys
        self._lock = threading.Lock()
        self._held: dict[str, Snapshot] = {}

    def of(self, instance: InstanceSettings, now: float) -> Snapshot:
        """What is in force now (unix seconds): nothing older than the last change that any replica has answered.

        Raises:
            Unavailable: `storage-*`. Misconfigured: `attestation-key-*`.
        """
        generation = self._store.generation()
        held = self._held.get(instance.base_url)
        if held is None or held.generation != generation or now >= held.until:
            with self._lock:
                held = self._load(instance, int(now), generation)
                self._held[instance.base_url] = held
        return held

    def _load(self, instance: InstanceSettings, now: int, generation: int) -> Snapshot:
        """Read after the number was: what changes in between is read twice, never missed."""
        url = instance.base_url
        with self._store.read() as transaction:
            ring = self._keys.ring(transaction.signing_keys(instance.signer), url, now)
            policies = {kind: ActivePolicy.stored(transaction.policy(url, kind), kind) for kind in Kind}
            certificates = transaction.certificates(url)
        return Snapshot(generation, min(now + _FRESH, ring.current.ends), ring, policies, certificates)
