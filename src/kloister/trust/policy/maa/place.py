"""Where something stands in a policy's text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Both count from 1, columns in characters."""

    line: int = 1
    column: int = 1
