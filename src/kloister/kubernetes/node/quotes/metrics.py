from __future__ import annotations

from collections import OrderedDict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_MOST_PODS = 512  # series by pod; a node runs 110 to 500 pods, and those that ended are dropped, the oldest first
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)  # seconds


class QuoteMetrics:
    """The helper's figures for Prometheus.

    Args:
        registry: where they are registered; the agent's.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "kloister_aesm_requests", "Requests by call and by the reason code of their answer.", ["call", "code"],
            registry=registry,
        )  # fmt: skip
        self._quotes = Counter("kloister_quotes", "Quotes handed out by pod uid.", ["pod"], registry=registry)
        self._refused = Counter(
            "kloister_aesm_connections_refused", "Connections ended early, by reason.", ["reason"], registry=registry
        )
        self.seconds = Histogram(
            "kloister_quote_seconds", "Time from a whole request for a quote to its answer.", registry=registry,
            buckets=_BUCKETS,
        )  # fmt: skip
        self.connections = Gauge("kloister_aesm_connections", "Connections that are open now.", registry=registry)
        self.ready = Gauge("kloister_quotes_ready", "1 if the last trial found that one can be had.", registry=registry)
        self.made = Gauge(
            "kloister_quotes_last_timestamp_seconds",
            "When a whole quote was made last.",
            registry=registry,
        )
        self._by_answer: dict[tuple[str, str], Counter] = {}
        self._by_pod: OrderedDict[str, Counter] = OrderedDict()

    def request(self, call: str, code: str) -> None:
        """A request was answered."""
        counter = self._by_answer.get((call, code))
        if counter is None:
            counter = self._by_answer[call, code] = self._requests.labels(call, code)
        counter.inc()

    def quote(self, pod: str, seconds: float) -> None:
        """A quote was handed out; `pod` is empty outside of pods."""
        self.seconds.observe(seconds)
        counter = self._by_pod.get(pod)
        if counter is None:
            counter = self._by_pod[pod] = self._quotes.labels(pod)
            if len(self._by_pod) > _MOST_PODS:
                self._quotes.remove(self._by_pod.popitem(last=False)[0])
        self._by_pod.move_to_end(pod)
        counter.inc()

    def refused(self, reason: str) -> None:
        """A connection was ended before it was answered."""
        self._refused.labels(reason).inc()
