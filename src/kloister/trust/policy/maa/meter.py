"""Bounds the work of one evaluation without a clock."""

from __future__ import annotations

from collections.abc import Callable

from kloister.trust.policy.maa.failure import MaaPolicyError

MAX_STEPS = 1_000_000  # a step takes about a microsecond or less: some second in all


class Meter:
    """Counts steps.

    Args:
        limit: steps in all.
        spend: is told of every count as well; it may raise what it likes, for instance past a deadline.
    """

    __slots__ = ("_left", "_spend")

    def __init__(self, limit: int = MAX_STEPS, spend: Callable[[int], None] | None = None) -> None:
        self._left = limit
        self._spend = spend

    def spend(self, steps: int) -> None:
        """Take steps. Raises `MaaPolicyError` `maa-limit`: there are no more."""
        self._left -= steps
        if self._left < 0:
            raise MaaPolicyError(
                "maa-limit", "The policy takes too many steps on this evidence.", "Ask for types, and use fewer rules."
            )
        if self._spend is not None:
            self._spend(steps)
