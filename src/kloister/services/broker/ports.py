from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from kloister.trust.evidence import VerifiedSgx
from kloister.trust.verifier import Collateral, Root


class Appraiser(Protocol):
    """Says whether a quote is genuine."""

    def __call__(self, quote: bytes, at: datetime) -> VerifiedSgx:
        """Raises `Malformed`, `Unverified`, or `Unavailable` where no collateral can be had."""


class CollateralSource(Protocol):
    """Where collateral and the admitted roots come from."""

    def collateral(self) -> Collateral:
        """The collateral valid now; raises `Unavailable`."""

    def roots(self) -> Sequence[Root]:
        """The roots of trust that this broker admits, and no others."""
