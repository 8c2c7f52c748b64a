"""What was found genuine before, kept by the caller: proofs that stay true whatever the time.

Only signatures, chains and parsed contents are remembered; dates and revocation are judged at every call. An entry is
found by the SHA-256 of exactly the bytes that were verified, and is made only after everything about it was accepted.
"""

from __future__ import annotations

import hashlib
from _thread import allocate_lock  # a lock starts nothing; `threading`, which could, is closed to the pure wings
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Misused
from kloister.formats.dcap import PckExtension
from kloister.formats.pki import Certificate
from kloister.trust.evidence import TcbBasis, TcbResult
from kloister.trust.root import Root
from kloister.trust.verifier.crl import Revocations
from kloister.trust.verifier.documents import Documents

if TYPE_CHECKING:
    from kloister.trust.verifier.endorsement import EndorsedKey

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenPlatform:
    """Step 2: a PCK certificate under `root`, and what it says of its platform."""

    digest: bytes  # 32, of the chain's bytes
    chain: tuple[Certificate, ...] = field(repr=False)
    root: Root
    extension: PckExtension = field(repr=False)
    issuer: bytes = field(init=False, repr=False)  # 32, SHA-256 of root and CA, whose collateral is the platform's
    start: datetime = field(init=False)  # the time in which all of the chain is valid
    end: datetime = field(init=False)

    def __post_init__(self) -> None:
        issuer = self.root.subject + self.root.point + self.chain[1].der
        object.__setattr__(self, "issuer", hashlib.sha256(issuer).digest())
        object.__setattr__(self, "start", max(each.not_before for each in self.chain))
        object.__setattr__(self, "end", min(each.not_after for each in self.chain))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenCollateral:
    """Steps 3 and 4: revocation lists of one CA and documents, all under `root`; no signer of it is revoked."""

    root: Root
    revocations: Revocations = field(repr=False)
    documents: Documents = field(repr=False)
    start: datetime = field(init=False)  # the time in which all of it, signers included, is valid
    end: datetime = field(init=False)
    expires: datetime = field(init=False)  # when the first list or document ends

    def __post_init__(self) -> None:
        parts = (self.documents.info, self.documents.identity)
        signers = [each for part in parts for each in part.chain]
        issued = [self.revocations.of_root.this_update, self.revocations.of_ca.this_update]
        start = max(*issued, *(part.content.issue_date for part in parts), *(each.not_before for each in signers))
        expires = min(self.revocations.expires, *(part.content.next_update for part in parts))
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "expires", expires)
        object.__setattr__(self, "end", min(expires, *(each.not_after for each in signers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Steps 5, 7 and 9 to 12: how up to date a platform is by one set of collateral, whatever the time."""

    tcb: TcbResult
    basis: TcbBasis = field(repr=False)
    fmspc: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class ProvenQe:
    """Step 6: a QE's report, and the attestation key that it binds."""

    report: bytes = field(repr=False)  # 384, well-formed; read where its level is matched
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
        self._judgements: Lru[Judgement] = Lru(platforms)
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

    @property
    def judgements(self) -> Lru[Judgement]:
        """Of steps 5, 7 and 9 to 12, one per platform, collateral, version of the QE and of the TDX module."""
        return self._judgements
