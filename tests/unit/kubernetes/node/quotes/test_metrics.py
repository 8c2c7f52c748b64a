from __future__ import annotations

from prometheus_client import CollectorRegistry

from kloister.kubernetes.node.quotes import QuoteMetrics
from kloister.kubernetes.node.quotes.metrics import _MOST_PODS


def test_pods_that_ended_long_ago_are_dropped() -> None:
    registry = CollectorRegistry()
    metrics = QuoteMetrics(registry)
    for number in range(_MOST_PODS + 1):
        metrics.quote("steady", 0.001)
        metrics.quote(f"pod-{number}", 0.001)
    assert registry.get_sample_value("kloister_quotes_total", {"pod": "steady"}) == _MOST_PODS + 1
    assert registry.get_sample_value("kloister_quotes_total", {"pod": "pod-0"}) is None
    assert registry.get_sample_value("kloister_quotes_total", {"pod": f"pod-{_MOST_PODS}"}) == 1
    assert registry.get_sample_value("kloister_quote_seconds_count") == 2 * (_MOST_PODS + 1)
