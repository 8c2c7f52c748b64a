"""`python -m tests.fuzz [NAME...]`: fuzz every target, or those named, each for `--seconds`.

With atheris installed (requirements/fuzz.txt) coverage guides it; without, mutation is random. What is found is kept
below `build/fuzz/found` and can be given to the target again with `--input FILE`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings
from pathlib import Path

from tests.fuzz import guided

_FOLDER = Path("build/fuzz")


def main() -> int:
    """The exit status: 0 when nothing was found."""
    options = _options()
    warnings.simplefilter("error")  # as in the suite: what a parser warns of, it is to judge
    if options.guided:  # in a process of its own, see below
        guided.run(options.names[0], options.seconds, _FOLDER)
    from tests.fuzz.targets import TARGETS

    unknown = [name for name in options.names if name not in TARGETS]
    if unknown:
        print(f"There is no target {unknown[0]}; there are {', '.join(sorted(TARGETS))}.", file=sys.stderr)  # noqa: T201 -- a command prints
        return 2
    names = options.names or list(TARGETS)
    if options.input:
        TARGETS[names[0]].read(options.input.read_bytes())
        return 0
    fuzz = _guided if guided.AVAILABLE and not options.plain else _plain
    failed = [name for name in names if not fuzz(name, options)]
    print(f"{len(names) - len(failed)} of {len(names)} targets without a finding", *failed)  # noqa: T201 -- a command prints
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="targets; all of them by default")
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "20")), help="for each")
    parser.add_argument("--seed", type=int, default=0, help="of the plain engine")
    parser.add_argument("--plain", action="store_true", help="random mutation even where atheris is installed")
    parser.add_argument("--input", type=Path, help="give this file to the one target named, once")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _guided(name: str, options: argparse.Namespace) -> bool:
    """A process for each target: libFuzzer ends the one it runs in."""
    command = [sys.executable, "-m", "tests.fuzz", "--guided", "--seconds", str(options.seconds), name]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    done = "Done " in ended.stderr
    last = next((line for line in reversed(ended.stderr.splitlines()) if line.startswith("Done ")), "found something")
    print(f"{name:24} atheris  {last}", flush=True)  # noqa: T201 -- a command prints
    if ended.returncode or not done:
        print(ended.stdout[-4000:], ended.stderr[-4000:], sep="\n")  # noqa: T201 -- a command prints
    return ended.returncode == 0 and done


def _plain(name: str, options: argparse.Namespace) -> bool:
    from tests.fuzz.engine import FoundError, for_seconds, run
    from tests.fuzz.targets import TARGETS

    try:
        tally = run(TARGETS[name], options.seed, for_seconds(options.seconds))
    except FoundError as found:
        path = found.save(_FOLDER / "found" / name)
        print(f"{name:24} {found}\n  kept in {path}", flush=True)  # noqa: T201 -- a command prints
        return False
    line = f"{tally.executions} runs, {tally.accepted} accepted, {len(tally.codes)} reasons"
    print(f"{name:24} plain    {line}", flush=True)  # noqa: T201 -- a command prints
    return True


if __name__ == "__main__":
    sys.exit(main())
