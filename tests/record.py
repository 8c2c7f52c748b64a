"""Plugin of pytest: writes down which tests failed and passed, and what else went wrong, for `tests/attempts.py`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

SETTING = "TESTS_RECORD"  # the file
_PHASES = frozenset(("setup", "call", "teardown"))
_failed: list[str] = []
_passed: list[str] = []
_otherwise: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:  # a worker that died reports no phase; its test may pass in another one afterwards
        (_failed if report.when in _PHASES else _otherwise).append(report.nodeid)
    elif report.passed and report.when == "call":
        _passed.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _otherwise.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What a worker saw, the process that started it has heard."""
    if hasattr(session.config, "workerinput"):
        return
    stopped = [str(reason) for reason in (session.shouldstop, session.shouldfail) if reason]
    record = {"failed": sorted(set(_failed)), "passed": _passed, "otherwise": _otherwise + stopped}
    Path(os.environ[SETTING]).write_text(json.dumps(record))
