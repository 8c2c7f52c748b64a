"""Collateral from outside: fetched, verified before it is admitted, kept, handed out with its provenance.

Whether evidence is genuine is decided in `trust/verifier`, which verifies all of this again.
"""

from kloister.services.collateral.model import Held, Item, Key, Kind, Tee, Update, Wanted, Window
from kloister.services.collateral.ports import Clock, CollateralSource, Provided
from kloister.services.collateral.source import CachedSource, Freshness
from kloister.services.collateral.wanted import require_vouched, wanted_by

__all__ = [
    "CachedSource",
    "Clock",
    "CollateralSource",
    "Freshness",
    "Held",
    "Item",
    "Key",
    "Kind",
    "Provided",
    "Tee",
    "Update",
    "Wanted",
    "Window",
    "require_vouched",
    "wanted_by",
]
