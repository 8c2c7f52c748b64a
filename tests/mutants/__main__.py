"""`python -m tests.mutants [FILE...]`: changes one thing after the other and lists the changes that no test notices.

A survivor that cannot be noticed stands, with the reason, in docs/reference/mutants.md; any other makes the run fail.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import cast

from tests.mutants.explained import DOCUMENT, explained
from tests.mutants.laboratory import Laboratory, Open
from tests.mutants.operators import Mutant, mutants
from tests.mutants.running import fork, killed, start

_ROOMS = ("src/kloister/trust/verifier", "src/kloister/formats/pki", "src/kloister/formats/dcap")
_VERIFIER = ("tests/unit/trust/verifier", "tests/conformance/test_evidence_vectors.py")
_GUESTS = "tests/unit/services/appraisal/test_kbs.py"  # TPMs and sessions, with the evidence that they come with
_BESIDE = {"src/kloister/trust": (*_VERIFIER, _GUESTS), "src/kloister/formats": _VERIFIER}
_LAST = ("test_flips.py", "test_cache.py")  # try thousands of flipped bits, or start with a whole verification
_SKIPPED = ("test_import.py",)  # measures time in processes of its own


def main() -> int:
    """The exit status: 0 when every mutant was killed or is explained."""
    options = _options()
    files = [Path(name) for name in options.files] or [
        one for room in _ROOMS for one in sorted(Path(room).glob("*.py"))
    ]
    chosen = [path for path in files if path.name != "__init__.py"]
    tests = options.tests or list(dict.fromkeys(test for path in chosen for test in suite_of(path)))
    left, seconds = _tried(chosen, tests, options.jobs)
    imported = {test for each in left.values() for one in each if one.imported for test in one.tests}
    _check_unchanged(chosen[0], sorted(imported), seconds)
    open_ones = sum(_file(path, left[str(path)], seconds, options.jobs) for path in chosen)
    if open_ones:
        _say(f"{open_ones} mutants survive unexplained: write a test, or say in {DOCUMENT} why none can tell.")
    return 1 if open_ones else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="modules below src; by default the verifier and its formats")
    parser.add_argument(
        "--tests", nargs="*", help="those that should notice; by default the module's room and the verifier's"
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def suite_of(path: Path) -> list[str]:
    """The module's own tests first, then those of its room and of the rooms that use it; long ones last."""
    rooms = [Path("tests/unit", *path.parent.parts[2:])]
    rooms += [Path(one) for prefix, more in _BESIDE.items() if str(path).startswith(prefix) for one in more]
    files = [one for room in rooms for one in ([room] if room.suffix else sorted(room.glob("test_*.py")))]
    ranks = {f"test_{path.name}": -1} | dict.fromkeys(_LAST, 1)
    wanted = sorted(dict.fromkeys(files), key=lambda one: ranks.get(one.name, 0))
    return [str(one) for one in wanted if one.name not in _SKIPPED]


def _file(path: Path, left: list[Open], seconds: float, jobs: int) -> int:
    """Try what is left of a file; how many survivors nobody explained."""
    every = list(mutants(path.read_text(encoding="utf-8")))
    survivors = [every[one.index] for one in left if not one.imported]
    survivors += _survivors(path, [(every[one.index], one.tests) for one in left if one.imported], seconds, jobs)
    known = explained(path)
    new = [one for one in survivors if (one.before, one.after) not in known]
    _say(f"{path}: {len(every)} mutants, {len(survivors)} survive, {len(new)} unexplained")
    for one in sorted(new, key=lambda one: one.line):
        _say(f"  {path}:{one}")
    return len(new)


def _survivors(path: Path, left: list[tuple[Mutant, list[str]]], seconds: float, jobs: int) -> list[Mutant]:
    """Those that no test notices when the module is imported anew."""
    waiting, running, survivors = list(left), dict[int, Mutant](), list[Mutant]()
    while waiting or running:
        while waiting and len(running) < jobs:
            one, tests = waiting.pop(0)
            if tests:
                running[start(path, one.tree, tests, seconds)] = one
            else:
                survivors.append(one)
        if running:
            pid, status = os.wait()
            one = running.pop(pid)
            if not killed(status):
                survivors.append(one)
    return survivors


def _check_unchanged(path: Path, tests: list[str], seconds: float) -> None:
    """The tests pass in a process of their own, too: else they would kill every mutant there."""
    if tests and killed(os.waitpid(start(path, None, tests, seconds), 0)[1]):
        sys.exit(f"Tests fail where others are left out: pytest -x -p no:randomly {' '.join(tests)}")


def _tried(files: list[Path], tests: list[str], jobs: int) -> tuple[dict[str, list[Open]], float]:
    """What is left of the mutants after those of functions were tried, and the seconds that all tests take.

    In a process of its own: in this one no module is imported that is mutated.
    """
    reading, writing = os.pipe()

    def child() -> int:
        laboratory = Laboratory(files, jobs)
        left = laboratory.run(tests)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump((left, laboratory.seconds), pipe)
        return 0

    pid = fork(child)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        sys.exit(f"The tests fail as it is: pytest -x -p no:randomly {' '.join(tests)}")
    return cast("tuple[dict[str, list[Open]], float]", pickle.loads(said))  # noqa: S301 -- our own process wrote it


def _import_once() -> None:
    """What every process would import for itself: nothing that is mutated, no plugin that pytest rewrites."""
    for name in ("pytest", "cryptography.x509", "cryptography.hazmat.primitives.asymmetric.ec"):
        with suppress(ImportError):
            import_module(name)


if __name__ == "__main__":
    _import_once()
    sys.exit(main())
