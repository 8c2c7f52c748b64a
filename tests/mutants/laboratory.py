"""Runs the tests once, remembers which executes what, and then only those again for each mutant, in forks."""

from __future__ import annotations

import ast
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import coverage
import pytest

from tests.mutants import patching
from tests.mutants.operators import mutants
from tests.mutants.running import BROKEN, OPTIONS, WithoutShrinking, bounded, fork, killed

IMPORT = ""  # coverage's context outside of tests


@dataclass(frozen=True, slots=True)
class Open:
    """A mutant that no test has noticed.

    Attributes:
        index: among those of its file.
        tests: that execute it, the likeliest to notice first.
        imported: it runs when modules are imported: it is still to be tried in a process that has imported none.
    """

    index: int
    tests: list[str]
    imported: bool


@dataclass(frozen=True, slots=True)
class _Trial:
    """A mutant's process, and the pipe by which it says who noticed."""

    what: Open
    reading: int


@dataclass(slots=True)
class Laboratory(WithoutShrinking):
    """A plugin for pytest: in the place of its loop.

    Attributes:
        files: whose mutants are tried.
        jobs: processes at a time.
        left: what is found, by file.
    """

    files: Sequence[Path]
    jobs: int
    left: dict[str, list[Open]] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)  # CPU time by test
    _kills: Counter[str] = field(default_factory=Counter)
    _failed: list[str] = field(default_factory=list)

    def run(self, tests: Sequence[str]) -> dict[str, list[Open]]:
        """What no test noticed, and what cannot be tried here. Exits where a test fails although nothing is mutated."""
        status = pytest.main([*OPTIONS, *tests], plugins=[self])
        return self.left if status == 0 else sys.exit(1)

    @property
    def seconds(self) -> float:
        """CPU time of all tests."""
        return sum(self._seconds.values())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember who noticed."""
        if report.failed:
            self._failed.append(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All tests once; then those that matter, for each mutant."""
        measured = coverage.Coverage(
            data_file=None, config_file=False, include=[str(path.resolve()) for path in self.files]
        )
        measured.set_option("run:disable_warnings", ["no-data-collected"])  # a module of constants runs when imported
        self._run_once(session, measured)
        if self._failed:
            return True
        items = {item.nodeid: item for item in session.items}
        for path in self.files:
            lines = measured.get_data().contexts_by_lineno(str(path.resolve()))
            self.left[str(path)] = self._try_all(path, items, lines)
        return True

    def _run_once(self, session: pytest.Session, measured: coverage.Coverage) -> None:
        measured.start()
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            measured.switch_context(item.nodeid)
            begun = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._seconds[item.nodeid] = time.process_time() - begun
            if self._failed:
                break
        measured.stop()

    def _try_all(self, path: Path, items: dict[str, pytest.Item], lines: dict[int, list[str]]) -> list[Open]:
        source = path.read_text(encoding="utf-8")
        original, spans = ast.parse(source), _spans(ast.parse(source))
        everything = {one for names in lines.values() for one in names} or set(items)
        left, running = list[Open](), dict[int, _Trial]()
        self._kills.clear()
        for index, one in enumerate(mutants(source)):
            codes = patching.changed(path, original, one.tree)
            first, last = spans.get(one.line, (one.line, one.line))
            at = {name for line in range(first, last + 1) for name in lines.get(line, ())}
            imported = codes is None or IMPORT in at or not at
            what = Open(index, self._ranked((everything if imported else at) - {IMPORT}), imported)
            if codes is None or not at:
                left.append(what)
                continue
            if len(running) >= self.jobs:
                left += self._reap(running)
            pid, reading = self._try(path, codes, [items[name] for name in what.tests])
            running[pid] = _Trial(what, reading)
        while running:
            left += self._reap(running)
        return [replace(one, tests=self._ranked(set(one.tests))) for one in sorted(left, key=lambda one: one.index)]

    def _ranked(self, tests: set[str]) -> list[str]:
        """Those that noticed most in the least time first."""
        return sorted(tests, key=lambda one: (-self._kills[one] / (self._seconds[one] + 0.05), self._seconds[one], one))

    def _try(self, path: Path, codes: patching.Codes, tests: list[pytest.Item]) -> tuple[int, int]:
        """A process in which the functions are changed; it writes the name of the test that notices into a pipe."""
        reading, writing = os.pipe()
        seconds = sum(self._seconds[one.nodeid] for one in tests)

        def child() -> int:
            bounded(seconds)
            patching.put(path, codes)
            if self._noticed(tests, writing):
                return 1
            patching.forget("kloister.", "tests.")  # what tests keep for each other was made by the module as it is
            return int(self._noticed(tests, writing))

        pid = fork(child)
        os.close(writing)
        return pid, reading

    def _noticed(self, tests: list[pytest.Item], writing: int) -> bool:
        for one, following in zip(tests, [*tests[1:], None], strict=True):
            one.config.hook.pytest_runtest_protocol(item=one, nextitem=following)
            if self._failed:
                os.write(writing, one.nodeid.encode())
                return True
        return False

    def _reap(self, running: dict[int, _Trial]) -> list[Open]:
        """Wait for one; what nobody noticed is still open, and what could not be put in place wants an import."""
        pid, status = os.wait()
        trial = running.pop(pid)
        with os.fdopen(trial.reading, "rb") as pipe:
            name = pipe.read().decode()
        if name:
            self._kills[name] += 1
        if os.waitstatus_to_exitcode(status) == BROKEN:
            return [replace(trial.what, imported=True)]
        return [] if killed(status) else [trial.what]


def _spans(tree: ast.Module) -> dict[int, tuple[int, int]]:
    """By line: first and last of the innermost statement there, of a compound one without its body."""
    found = dict[int, tuple[int, int]]()
    for node in ast.walk(tree):  # outer ones first
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
            found |= dict.fromkeys(range(node.lineno, last + 1), (node.lineno, last))
    return found
