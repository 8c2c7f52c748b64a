"""What is measured, in Prometheus' form."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from kloister.services.attestation.board import Board

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0)


class StepTimes(Collector):
    """Histograms of the steps of attestations: lists to count in, because the library's take a tenth of a request.

    Threads may lose a count to each other; for times that is good enough.
    """

    def __init__(self, steps: tuple[str, ...]) -> None:
        self.counts = {name: [0] * (len(_SECONDS) + 1) for name in steps}
        self.sums = dict.fromkeys(steps, 0.0)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """As the library asks for them."""
        family = HistogramMetricFamily(
            "kloister_attestation_step_seconds", "Time of each step of an attestation", labels=["step"]
        )  # fmt: skip
        for name, counts in self.counts.items():
            sums = [sum(counts[: index + 1]) for index in range(len(counts))]
            bounds = [*(str(bound) for bound in _SECONDS), "+Inf"]
            family.add_metric([name], list(zip(bounds, sums, strict=True)), self.sums[name])
        yield family


class Counts(Collector):
    """A counter by labels: integers of our own, because the library's lock for each; only the loop's thread counts.

    Args:
        name: of the metric, without `_total`.
        text: what it counts.
        labels: their names.
    """

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        self._family = name, text, labels
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, labels: tuple[str, ...]) -> None:
        """One more with these values of the labels."""
        self._counts[labels] = self._counts.get(labels, 0) + 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As the library asks for them."""
        name, text, labels = self._family
        family = CounterMetricFamily(name, text, labels=labels)
        for values, count in self._counts.copy().items():
            family.add_metric(values, count)
        yield family


class Watch:
    """Measures the steps of one request."""

    __slots__ = ("_clock", "_last", "_times")

    def __init__(self, times: StepTimes, clock: Callable[[], float]) -> None:
        self._times = times
        self._clock = clock
        self._last = clock()

    def step(self, name: str) -> None:
        """The step of this name ends now."""
        now = self._clock()
        seconds = now - self._last
        self._times.counts[name][bisect_left(_SECONDS, seconds)] += 1
        self._times.sums[name] += seconds
        self._last = now


class Metrics:
    """The counters of one process.

    Args:
        monotonic: seconds.
        board: where other workers leave theirs.
    """

    STEPS = ("parse", "policy", "verify", "evaluate", "sign")

    def __init__(self, monotonic: Callable[[], float], board: Board | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would make half of the lines
        self.registry = CollectorRegistry()
        self._monotonic = monotonic
        self._board = board
        self._times = StepTimes(self.STEPS)
        self._verdicts = Counts(
            "kloister_attestation_verdicts", "Attestations by type and reason (accepted, or a code)", ("type", "reason")
        )  # fmt: skip
        self._requests = Counts("kloister_attestation_requests", "Answers by status", ("status",))
        self._collateral = Counts(
            "kloister_attestation_collateral", "Attestations by where the collateral was: at hand, or waited for",
            ("place",),
        )  # fmt: skip
        for each in (self._times, self._verdicts, self._requests, self._collateral):
            self.registry.register(each)
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
        return Watch(self._times, self._monotonic)

    def verdict(self, kind: str, reason: str) -> None:
        """An attestation ended."""
        self._verdicts.add((kind, reason))

    def collateral(self, place: str) -> None:
        """Collateral was `held`, or it was `waited` for."""
        self._collateral.add((place,))

    def answered(self, status: int) -> None:
        """An answer was sent."""
        self._requests.add((str(status),))

    def publish(self) -> None:
        """Show them to the other workers."""
        if self._board is not None:
            self._board.publish(generate_latest(self.registry))

    def text(self) -> bytes:
        """The exposition format, of all workers."""
        own = generate_latest(self.registry)
        return own if self._board is None else self._board.merged(own)
