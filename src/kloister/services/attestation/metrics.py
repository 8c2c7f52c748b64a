"""What is measured, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0)


class Watch:
    """Measures the steps of one request."""

    __slots__ = ("_clock", "_last", "_steps")

    def __init__(self, steps: dict[str, Histogram], clock: Callable[[], float]) -> None:
        self._steps = steps
        self._clock = clock
        self._last = clock()

    def step(self, name: str) -> None:
        """The step of this name ends now."""
        now = self._clock()
        self._steps[name].observe(now - self._last)
        self._last = now


class Metrics:
    """The counters of one process."""

    STEPS = ("parse", "policy", "verify", "evaluate", "sign")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self._monotonic = monotonic
        steps = Histogram(
            "kloister_attestation_step_seconds", "Time of each step of an attestation", ["step"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._steps = {name: steps.labels(name) for name in self.STEPS}
        self._verdicts = Counter(
            "kloister_attestation_verdicts", "Attestations by type and reason (accepted, or a code)",
            ["type", "reason"], registry=self.registry,
        )  # fmt: skip
        self._requests = Counter(
            "kloister_attestation_requests", "Answers by status", ["status"], registry=self.registry
        )  # fmt: skip
        self._collateral = Counter(
            "kloister_attestation_collateral", "Attestations by where the collateral was: at hand, or fetched",
            ["place"], registry=self.registry,
        )  # fmt: skip
        self.collateral_age = Gauge(
            "kloister_attestation_collateral_age_seconds", "Seconds since the oldest collateral held was issued",
            registry=self.registry,
        )  # fmt: skip
        self.collateral_left = Gauge(
            "kloister_attestation_collateral_left_seconds", "Seconds until the first collateral held expires",
            registry=self.registry,
        )  # fmt: skip

    def watch(self) -> Watch:
        """Start to measure a request."""
        return Watch(self._steps, self._monotonic)

    def verdict(self, kind: str, reason: str) -> None:
        """An attestation ended."""
        self._verdicts.labels(kind, reason).inc()

    def collateral(self, place: str) -> None:
        """Collateral was `held` or `fetched`."""
        self._collateral.labels(place).inc()

    def answered(self, status: int) -> None:
        """An answer was sent."""
        self._requests.labels(str(status)).inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
