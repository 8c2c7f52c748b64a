"""Figures of repeated measurements."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_RESAMPLES = 4000  # of a bootstrap; its interval's ends move by less than a tenth of their distance from then on
_SEED = 1  # the interval of the same figures is the same


@dataclass(frozen=True, slots=True)
class Summary:
    """Median and spread of a series; `low` and `high` are the quartiles."""

    median: float
    low: float
    high: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """The summary of at least one value."""
        quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
        low, median, high = quartiles
        return cls(median, low, high, min(values), max(values))

    def row(self) -> list[str]:
        """Median, quartiles and extremes, with one decimal."""
        return [f"{self.median:.1f}", f"{self.low:.1f} to {self.high:.1f}", f"{self.least:.1f} to {self.most:.1f}"]

    def as_json(self) -> dict[str, float]:
        """For machines, three decimals."""
        names = ("median", "low", "high", "least", "most")
        return {name: round(getattr(self, name), 3) for name in names}


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the median (Efron and Tibshirani 1993, chapter 13)."""
    source = random.Random(_SEED)  # noqa: S311 -- no secret is drawn; the same figures give the same interval
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    cut = round((1 - confidence) / 2 * _RESAMPLES)
    return medians[cut], medians[-1 - cut]
