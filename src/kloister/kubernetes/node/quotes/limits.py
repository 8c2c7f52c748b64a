from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from kloister.kubernetes.node.quotes.settings import Limits

_LINES = 10.0  # lines of refusals in the log per second and caller, and at once; the rest is only counted


@dataclass(slots=True)
class TokenBucket:
    """Lets `rate` requests per second pass, and `burst` at once after a pause.

    Args:
        rate: per second.
        burst: at most held back.
    """

    rate: float
    burst: float
    _level: float = field(init=False)
    _filled: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._level = self.burst

    def take(self, now: float) -> bool:
        """Whether one more may pass at `now` (seconds of a clock that never goes back)."""
        self._level = min(self.burst, self._level + max(0.0, now - self._filled) * self.rate)
        self._filled = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def full(self, now: float) -> bool:
        """Whether nothing is owed any more."""
        return self._level + max(0.0, now - self._filled) * self.rate >= self.burst


class Account:
    """What one caller has of the helper now."""

    def __init__(self, limits: Limits) -> None:
        self.connections = 0
        self.requests = TokenBucket(limits.rate, limits.burst)
        self.lines = TokenBucket(_LINES, _LINES)
        self.window = asyncio.Semaphore(limits.caller_window)
        self._most = limits.caller_connections

    @property
    def may_connect(self) -> bool:
        """Whether it may open one more connection."""
        return self.connections < self._most

    def idle(self, now: float) -> bool:
        """Whether it can be forgotten: a new one would be the same."""
        return not self.connections and self.requests.full(now) and self.lines.full(now)


class Accounts:
    """Accounts by the key of their callers."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._accounts: dict[str, Account] = {}

    def of(self, key: str) -> Account:
        """The caller's account."""
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(self._limits)
        return account

    def sweep(self, now: float) -> None:
        """Forget callers who have been away long enough."""
        self._accounts = {key: account for key, account in self._accounts.items() if not account.idle(now)}
