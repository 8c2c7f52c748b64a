"""`python -m tests.cluster.bed up|down|status|env|test`: the cluster of the tests."""

from __future__ import annotations

import argparse
import os
import sys

from tests import attempts
from tests.cluster.bed import bed
from tests.cluster.bed.layout import CONTROL, NODES, SETTING, Layout, layout
from tests.cluster.bed.machine import Machine
from tests.cluster.bed.needs import unmet
from tests.cluster.bed.processes import BedError, say
from tests.cluster.bed.source import NoSource

_TESTS = "tests/cluster"


def main() -> int:
    """Run one verb; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.bed", description="A Kubernetes cluster of two nodes."
    )
    parser.add_argument("--state", help=f"its directory [default: ${SETTING}, else one in /tmp]")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start it, after a build of Kubernetes if none is cached")
    verbs.add_parser("down", help="remove it and all that it has made")
    verbs.add_parser("status", help="what runs")
    verbs.add_parser("env", help="settings for a shell that is to use kubectl with it")
    test = verbs.add_parser("test", help="run tests/cluster on it; it is started for them if it does not run")
    test.add_argument("pytest", nargs="*", help="arguments of pytest")
    arguments = parser.parse_args()
    try:
        place = layout(arguments.state)
        if arguments.verb == "test":
            return _test(place, arguments.pytest)
        return _do(place, arguments.verb)
    except BedError as error:
        sys.stderr.write(f"cluster: {error}\n")
        return 1


def _do(place: Layout, verb: str) -> int:
    if verb == "down":
        bed.down(place)
        return 0
    if verb == "up":
        bed.up(place)
    if not bed.is_up(place):
        say("not running")
        return 1
    sys.stdout.write(_status(place) if verb == "status" else _settings(place))
    return 0


def _status(place: Layout) -> str:
    lines = []
    for site in (CONTROL, *NODES):
        names = sorted(path.name.partition("-")[2] for path in (place.state / "pids").glob(f"{site.name}-*"))
        ended = {name for name in names if not Machine(place, site.name).running(name)}
        lines.append(f"{site.name} {site.address}: {', '.join(n + ' (ended)' * (n in ended) for n in names)}\n")
    return "".join(lines)


def _settings(place: Layout) -> str:
    return f"export KUBECONFIG={place.kubeconfig} PATH={bed.kubectl(place).parent}:$PATH\n"


def _test(place: Layout, arguments: list[str]) -> int:
    """Tests skip with the reason where there can be no cluster; one that was started for them is removed."""
    started = False
    if not os.environ.get("KUBECONFIG") and not unmet():
        started = not bed.is_up(place)
        try:
            bed.up(place)
        except NoSource as error:
            say(f"there is no cluster: {error}")
    try:
        named = [] if any(word.startswith(_TESTS) for word in arguments) else [_TESTS]
        return attempts.run([*named, *arguments], os.environ | {SETTING: str(place.state)})
    finally:
        if started:
            bed.down(place)


if __name__ == "__main__":
    sys.exit(main())
