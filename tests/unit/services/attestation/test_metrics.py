from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from kloister.services.attestation.board import Board
from kloister.services.attestation.limits import RateLimit
from kloister.services.attestation.metrics import Metrics


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def value(text: bytes, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(text.decode())
    return next(one.value for family in families for one in family.samples if (one.name, one.labels) == (name, labels))


def test_steps_fall_into_their_buckets() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    for seconds in (0.0001, 0.003, 99.0):
        watch = metrics.watch()
        clock.now += seconds
        watch.step("sign")
    name = "kloister_attestation_step_seconds"
    text = metrics.text()
    found = [value(text, f"{name}_bucket", step="sign", le=le) for le in ("0.0001", "0.002", "0.005", "10.0", "+Inf")]
    assert found in ([1, 1, 2, 2, 3], [0, 1, 2, 2, 3])  # the first is at the bound, give or take its rounding
    assert value(text, f"{name}_count", step="sign") == 3
    assert value(text, f"{name}_count", step="parse") == 0


def test_workers_are_added_up(tmp_path: Path) -> None:
    workers = [Metrics(Clock(), Board(tmp_path, number)) for number in range(2)]
    for number, worker in enumerate(workers):
        for _ in range(number + 2):
            worker.answered(200)
            worker.verdict("SgxEnclave", 'a"b\\c')
            worker.watch().step("sign")
        worker.collateral_age.set(7)
        worker.publish()
    for worker in workers:
        text = worker.text()
        assert value(text, "kloister_attestation_requests_total", status="200") == 5
        assert value(text, "kloister_attestation_step_seconds_count", step="sign") == 5
        assert value(text, "kloister_attestation_collateral_age_seconds") == 7
    workers[0].answered(200)
    assert value(workers[0].text(), "kloister_attestation_requests_total", status="200") == 6


def test_a_client_within_its_rate_is_admitted() -> None:
    clock = Clock()
    limit = RateLimit(10, clock)
    assert [limit.admits("a") for _ in range(21)] == [True] * 20 + [False]
    assert limit.admits("b")
    clock.now += 0.125
    assert [limit.admits("a") for _ in range(2)] == [True, False]
    clock.now += 1000
    assert sum(limit.admits("a") for _ in range(30)) == 20
    assert all(RateLimit(0, clock).admits("a") for _ in range(1000))


def test_clients_are_forgotten() -> None:
    limit = RateLimit(1, Clock())
    for number in range(10_100):
        limit.admits(str(number))
    assert len(limit._buckets) == 10_000
