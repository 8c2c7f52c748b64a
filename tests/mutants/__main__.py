"""`python -m tests.mutants [FILE...]`: changes one thing after the other and lists the changes that no test notices.

A survivor that cannot be noticed stands, with the reason, in docs/reference/mutants.md; any other makes the run fail.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from tests.mutants.explained import DOCUMENT, explained
from tests.mutants.operators import Mutant, mutants
from tests.mutants.running import killed, start

_ROOMS = ("src/kloister/trust/verifier", "src/kloister/formats/pki", "src/kloister/formats/dcap")
_VERIFIER = ("tests/unit/trust/verifier", "tests/conformance/test_evidence_vectors.py")
_BESIDE = {"src/kloister/trust": _VERIFIER, "src/kloister/formats": _VERIFIER}
_LAST = ("test_flips.py", "test_cache.py")  # try thousands of flipped bits, or start with a whole verification
_SKIPPED = ("test_import.py",)  # measures time in processes of its own
_SLOWER = 6  # times as long as the unchanged module may a mutant take


def main() -> int:
    """The exit status: 0 when every mutant was killed or is explained."""
    options = _options()
    files = [Path(name) for name in options.files] or [
        one for room in _ROOMS for one in sorted(Path(room).glob("*.py"))
    ]
    chosen = [path for path in files if path.name != "__init__.py"]
    open_ones = sum(_file(path, options.tests or suite_of(path), options.jobs) for path in chosen)
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


def _file(path: Path, tests: list[str], jobs: int) -> int:
    """Mutate one file; how many survivors nobody explained."""
    begun = time.monotonic()
    if killed(os.waitpid(start(path, None, tests, 600), 0)[1]):
        _say(f"{path}: its tests fail as it is: pytest -x -p no:randomly {' '.join(tests)}")
        return 1
    limit = int((time.monotonic() - begun) * _SLOWER) + 10
    all_of_them = list(mutants(path.read_text(encoding="utf-8")))
    survivors = _survivors(path, all_of_them, tests, limit, jobs)
    known = explained(path)
    new = [one for one in survivors if (one.before, one.after) not in known]
    seconds = time.monotonic() - begun
    _say(f"{path}: {len(all_of_them)} mutants, {len(survivors)} survive, {len(new)} unexplained ({seconds:.0f} s)")
    for one in new:
        _say(f"  {path}:{one}")
    return len(new)


def _survivors(path: Path, wanted: list[Mutant], tests: list[str], limit: int, jobs: int) -> list[Mutant]:
    waiting, running, survivors = list(wanted), dict[int, Mutant](), list[Mutant]()
    while waiting or running:
        while waiting and len(running) < jobs:
            one = waiting.pop(0)
            running[start(path, one.tree, tests, limit)] = one
        pid, status = os.wait()
        one = running.pop(pid)
        if not killed(status):
            survivors.append(one)
    return sorted(survivors, key=lambda one: one.line)


def _import_once() -> None:
    """What every process would import for itself: nothing that is mutated, no plugin that pytest rewrites."""
    for name in ("pytest", "cryptography.x509", "cryptography.hazmat.primitives.asymmetric.ec"):
        with suppress(ImportError):
            import_module(name)


if __name__ == "__main__":
    _import_once()
    sys.exit(main())
