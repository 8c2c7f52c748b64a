"""What the platform's own evidence is worth now: its TCB status, and how old the collateral is that says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kloister import clock
from kloister.errors import KloisterError, Misconfigured, Unavailable
from kloister.formats.dcap.status import TcbStatus

_LOG = logging.getLogger("kloister.node.tcb")
UNKNOWN = "unknown"
_STATUSES = (*(str(status) for status in TcbStatus), UNKNOWN)
_NO_QUOTE = Unavailable(
    "tcb-no-quote", "No quote was made on this node yet.", "The first one that a pod takes tells the TCB."
)
_NO_COLLATERAL = Misconfigured(
    "tcb-no-collateral",
    "Nobody was named who has the collateral of this platform.",
    "Set KLOISTER_COLLATERAL_SOURCES for the agent.",
)
_PAUSE = 300.0  # seconds between two judgements: a TCB recovery is seen within them
_AGAIN = 30.0  # seconds after one that failed
_SOON = 1.0  # seconds between two looks for a first quote


@dataclass(frozen=True, slots=True)
class Standing:
    """What was found.

    Attributes:
        status: of platform and quoting enclave, in Intel's words, or `unknown`.
        reason: why it is unknown, a code; empty where it is known.
        issued: when the oldest part of the collateral was issued; None: there was none yet.
        expires: when the first part of it ends.
    """

    status: str = UNKNOWN
    reason: str = ""
    issued: datetime | None = None
    expires: datetime | None = None


Judge = Callable[[bytes], Awaitable[Standing]]
"""Verifies a quote with the collateral that is to be had. Raises `KloisterError`: why nothing is known."""


class TcbWatch(Collector):
    """Judges the platform's latest quote now and then, and tells Prometheus.

    Args:
        quote: the latest quote that was made on this node; None: none yet.
        judge: None where no collateral is configured.
    """

    def __init__(self, quote: Callable[[], bytes | None], judge: Judge | None) -> None:
        self.standing = Standing(reason=(_NO_QUOTE if judge else _NO_COLLATERAL).code)
        self._quote = quote
        self._judge = judge

    async def run(self) -> None:
        """Until cancelled."""
        while self._judge is not None:
            before = self.standing
            self.standing = await self._judged(self._judge)
            if (self.standing.status, self.standing.reason) != (before.status, before.reason):
                _LOG.warning("TCB status", extra={"status": self.standing.status, "code": self.standing.reason})
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        if self.standing.status != UNKNOWN:
            return _PAUSE
        return _SOON if self._quote() is None else _AGAIN

    async def _judged(self, judge: Judge) -> Standing:
        quote = self._quote()
        if quote is None:
            return self.standing
        try:
            return await judge(quote)
        except KloisterError as error:  # what is remembered of the collateral still grows older
            return replace(self.standing, status=UNKNOWN, reason=error.code)

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        current = self.standing
        status = GaugeMetricFamily("kloister_tcb_status", "1 at the platform's TCB status", labels=["status"])
        for name in _STATUSES:
            status.add_metric([name], float(name == current.status))
        yield status
        unknown = GaugeMetricFamily("kloister_tcb_unknown", "1: the TCB status is not known, and why", labels=["code"])
        if current.reason:
            unknown.add_metric([current.reason], 1.0)
        yield unknown
        now = clock.now()
        if current.issued is not None:
            age = (now - current.issued).total_seconds()
            yield GaugeMetricFamily("kloister_collateral_age_seconds", "Since its oldest part was issued", value=age)
        if current.expires is not None:
            left = (current.expires - now).total_seconds()
            yield GaugeMetricFamily("kloister_collateral_left_seconds", "Until its first part ends", value=left)
