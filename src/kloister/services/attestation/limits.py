"""How much one client may ask for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

_MAX_CLIENTS = 10_000  # whose buckets are kept; 200 bytes each
_BURST = 2  # seconds' worth of requests that may come at once


class RateLimit:
    """A token bucket for each client's address.

    Args:
        rate: requests per second; 0: no limit.
        monotonic: seconds.
    """

    def __init__(self, rate: int, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when

    def admits(self, client: str) -> bool:
        """Whether one more request of this client is within its rate; it counts if it is."""
        if not self._rate:
            return True
        now, most = self._monotonic(), float(self._rate * _BURST)
        left, at = self._buckets.get(client, (most, now))
        left = min(most, left + (now - at) * self._rate)
        admitted = left >= 1
        self._buckets[client] = (left - 1 if admitted else left, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return admitted
