from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# gRPC would start a thread in every child that a test forks beside it, and no process of two threads may make a user
# namespace: tests of sandboxes failed that came after one of an agent.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

settings.register_profile("kloister", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kloister")
# The same examples each time: Hypothesis also takes constants out of the modules that happen to be imported, which the
# order of the tests decides.
providers._get_local_constants = lambda: providers._local_constants

_LEDGER = Path(__file__).parent / "skips.txt"
_CLUSTER = Path(__file__).parent / "cluster"
_SKIPPED = 6  # an exit code of our own: a test that failed besides must not hide it (tests/attempts.py)
_SLOW = frozenset(("docs", "e2e", "mutants", "fuzz"))
_passed: Counter[str] = Counter()
_skipped: dict[str, list[tuple[str, str]]] = defaultdict(list)


def _group(nodeid: str) -> str:
    return nodeid.split("/")[1] if nodeid.count("/") > 1 else "other"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`tests/cluster` needs a cluster: it is collected only where it is named (`make cluster-test`)."""
    named = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return True if collection_path == _CLUSTER and not any(path.is_relative_to(_CLUSTER) for path in named) else None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A worker of a parallel run gets a shorter directory: paths of sockets have at most 107 bytes (unix(7))."""
    if given := getattr(config, "workerinput", None):
        directory = Path(config.option.basetemp)
        config.option.basetemp = str(directory.with_name(given["workerid"].removeprefix("gw")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups of slow files first, so that a parallel run does not end with one of them; else as shuffled."""
    items.sort(key=lambda item: _group(item.nodeid) not in _SLOW)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped[_group(report.nodeid)].append((report.nodeid, reason.removeprefix("Skipped: ")))
    elif report.when == "call" and report.passed:
        _passed[_group(report.nodeid)] += 1


def _listed() -> list[str]:
    lines = _LEDGER.read_text().splitlines() if _LEDGER.exists() else []
    return [line.split(" # ")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def _unlisted() -> list[tuple[str, str]]:
    allowed = _listed()
    every = [item for items in _skipped.values() for item in items]
    return [(node, reason) for node, reason in every if not any(node.startswith(prefix) for prefix in allowed)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skip that the ledger does not name is a failure: nothing is skipped in silence."""
    if (
        os.environ.get("CI")
        and _unlisted()
        and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    ):
        session.exitstatus = _SKIPPED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    groups = sorted(set(_passed) | set(_skipped))
    if groups:
        terminalreporter.write_sep("-", "per group")
    for group in groups:
        terminalreporter.write_line(f"{group:14} passed {_passed[group]:5}  skipped {len(_skipped[group]):3}")
    for node, reason in _unlisted():
        terminalreporter.write_line(f"skipped, not in tests/skips.txt: {node}: {reason}")


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the developer's shell must not decide a test."""
    for name in [name for name in os.environ if name.startswith("KLOISTER_") and name != "KLOISTER_VECTORS"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
