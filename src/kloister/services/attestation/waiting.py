"""What a request may have to wait for is said by exceptions: whoever answers it decides where."""

from __future__ import annotations


class NeedsWaiting(Exception):
    """It may take long: ask again with `wait`, where that harms nobody."""


class NeedsTrying(NeedsWaiting):
    """It is a draft policy, which may be anybody's, and takes a processor for long."""
