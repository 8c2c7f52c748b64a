"""What was found genuine before, kept by the caller: proofs that stay true whatever the time.

Only signatures, chains and parsed contents are remembered; dates and revocation are judged at every call. An entry is
found by the SHA-256 of exactly the bytes that were verified, and is made only after everything about it was accepted.
"""

from __future__ import annotations

from _thread import allocate_lock  # a lock starts nothing; `threading`, which could, is closed to the pure wings
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Misused
from kloister.formats.dcap import PckExtension
from kloister.formats.pki import Certificate
from kloister.formats.sgx import ReportBody
from kloister.trust.root import Root
from kloister.trust.verifier.crl import Revocations
from kloister.trust.verifier.documents import Documents
from kloister.trust.verifier.endorsement import EndorsedKey

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenPlatform:
    """Step 2: a PCK certificate under `root`, and what it says of its platform."""

    digest: bytes  # 32, of the chain's bytes
    chain: tuple[Certificate, ...] = field(repr=False)
    root: Root
    extension: PckExtension = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenCollateral:
    """Steps 3 and 4: revocation lists of one CA and documents, all under `root`."""

    root: Root
    revocations: Revocations = field(repr=False)
    documents: Documents = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenQe:
    """Step 6: a QE's report, and the attestation key that it binds."""

    report: ReportBody
    key: ec.EllipticCurvePublicKey = field(repr=False)


class Lru(Generic[Value]):
    """At most `capacity` values; the one that was not asked for longest makes room. Safe to share by threads."""

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise Misused("cache-capacity", "A cache cannot hold fewer than no entries.")
        self._capacity = capacity
        self._lock = allocate_lock()
        self._values: OrderedDict[bytes, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes) -> Value | None:
        """The value of the key, which becomes the last to make room."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: bytes, value: Value) -> None:
        """Keep a value."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._capacity:
                self._values.popitem(last=False)


class VerifierCache:
    """What verification may skip because the very same bytes were accepted before. The caller owns it.

    One cache may be shared by threads; it may serve several sets of roots, because an entry counts only for a call
    whose roots include its own.

    Args:
        collateral: sets of collateral (TCB info, QE identity, both revocation lists) per CA; some 100 KiB each.
        platforms: PCK certificate chains; some 10 KiB each.
        quoting_enclaves: reports of quoting enclaves with their attestation keys; some 2 KiB each.
        endorsements: keys of AMD's chips with what vouches for them; some 10 KiB each.
    """

    def __init__(
        self,
        *,
        collateral: int = 128,
        platforms: int = 4096,
        quoting_enclaves: int = 4096,
        endorsements: int = 4096,
    ) -> None:
        self._collateral: Lru[ProvenCollateral] = Lru(collateral)
        self._platforms: Lru[ProvenPlatform] = Lru(platforms)
        self._quoting_enclaves: Lru[ProvenQe] = Lru(quoting_enclaves)
        self._endorsements: Lru[EndorsedKey] = Lru(endorsements)

    @property
    def collateral(self) -> Lru[ProvenCollateral]:
        """Of steps 3 and 4."""
        return self._collateral

    @property
    def platforms(self) -> Lru[ProvenPlatform]:
        """Of step 2."""
        return self._platforms

    @property
    def quoting_enclaves(self) -> Lru[ProvenQe]:
        """Of step 6."""
        return self._quoting_enclaves

    @property
    def endorsements(self) -> Lru[EndorsedKey]:
        """Of steps 2 and 3 of the verification of SNP reports (`snp.py`)."""
        return self._endorsements
