"""AMD's revocation lists: what the root of a product line has revoked, from files or from AMD's service.

AMD revokes issuers (ASK, ASVK). Certificates of chips all have the serial number 0, so no list can name one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from kloister.formats.snp import AmdCrl
from kloister.formats.snp.crl import MAX_SIZE
from kloister.services.attestation.waiting import NeedsWaiting
from kloister.services.attestation.watched import WatchedFiles
from kloister.services.collateral.kds import AmdSource
from kloister.trust.amd_root import AmdRoot


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list as it came, not verified: `verify_snp` does that.

    Attributes:
        name: for people.
        data: DER or PEM.
        issuer: DER of the name.
        issued, expires: the window that it claims.
    """

    name: str
    data: bytes = field(repr=False)
    issuer: bytes = field(repr=False)
    issued: datetime
    expires: datetime

    @classmethod
    def of(cls, name: str, data: bytes) -> RevocationList:
        """Read one. Raises `Malformed`: `amd-crl-*`."""
        parsed = AmdCrl.parse(data)
        return cls(f"revocations, {name}", data, parsed.issuer, parsed.this_update, parsed.next_update)


class RevocationPort(Protocol):
    """Where the lists come from."""

    def of(self, root: AmdRoot, /, *, wait: bool) -> RevocationList | None:
        """The root's list; None: revocation is not judged.

        Raises:
            NeedsWaiting: it must be fetched, and `wait` is false.
            Unavailable: `collateral-*`, `source-*`. Unverified: `collateral-refused`.
        """

    def refresh(self) -> None:
        """Look for newer ones; called now and then."""

    def windows(self) -> Sequence[tuple[str, datetime, datetime]]:
        """What is held: its name, when it was issued, when it expires."""


class NoLists:
    """None: revocation by AMD is not judged."""

    def of(self, _root: AmdRoot, *, wait: bool) -> RevocationList | None:  # noqa: ARG002  the port's name
        """None."""
        return None

    def refresh(self) -> None:
        """Nothing."""

    def windows(self) -> list[tuple[str, datetime, datetime]]:
        """None."""
        return []


class DirectoryLists:
    """The files `*.crl` (DER or PEM) of a directory and of all below it; of several of one root the newest counts.

    Where a root has none, revocation is not judged.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self._files = WatchedFiles(directory, "*.crl", _read, warn)
        self._held: dict[bytes, RevocationList] = {}
        self.refresh()

    def of(self, root: AmdRoot, *, wait: bool) -> RevocationList | None:  # noqa: ARG002  nothing is waited for
        """The newest of this issuer."""
        return self._held.get(root.subject)

    def refresh(self) -> None:
        """Read what is new. Raises `Misconfigured`: `collateral-directory`."""
        found = sorted(self._files.look(), key=lambda one: one.issued)
        self._held = {one.issuer: one for one in found}

    def windows(self) -> list[tuple[str, datetime, datetime]]:
        """Of all lists."""
        return [_window(one) for one in self._held.values()]


class FetchedLists:
    """Lists that AMD's service hands out; without one a report is not judged.

    Args:
        sources: by the fingerprint of the root: each fetches, verifies and keeps what is under this root.
        monotonic: seconds.
    """

    FRESH = 3600.0  # seconds until a list is asked for again; AMD's live for half a year

    def __init__(self, sources: Mapping[str, AmdSource], monotonic: Callable[[], float]) -> None:
        self._sources = sources
        self._monotonic = monotonic
        self._held: dict[AmdRoot, tuple[float, RevocationList]] = {}

    def of(self, root: AmdRoot, *, wait: bool) -> RevocationList:
        """What was fetched lately, else what the source says, which has a cache of its own."""
        found = self._held.get(root)
        if found is not None and self._monotonic() - found[0] <= self.FRESH:
            return found[1]
        if not wait:
            raise NeedsWaiting
        return self._fetch(root)

    def refresh(self) -> None:
        """Fetch again what will soon be old, so that no request waits for it."""
        for root, (at, _) in self._held.copy().items():
            if self._monotonic() - at > self.FRESH / 2:
                self._fetch(root)

    def windows(self) -> list[tuple[str, datetime, datetime]]:
        """Of all that were fetched."""
        return [_window(one) for _, one in self._held.copy().values()]

    def _fetch(self, root: AmdRoot) -> RevocationList:
        body = self._sources[root.fingerprint].revocation_list(root).item.body
        found = RevocationList.of(root.name, body)
        self._held[root] = (self._monotonic(), found)
        return found


def _read(path: Path) -> RevocationList:
    with path.open("rb") as file:
        return RevocationList.of(path.name, file.read(MAX_SIZE + 1))


def _window(one: RevocationList) -> tuple[str, datetime, datetime]:
    return one.name, one.issued, one.expires
