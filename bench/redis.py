"""Debian's redis-server inside an enclave beside the same program outside, server and client on a core each.

Every pair of runs starts both servers anew, measures them one after the other (the order alternates), gives one ratio.
"""

from __future__ import annotations

import argparse
import csv
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own directory is all that Python adds

from bench.support.output import skip, table, write_json
from bench.support.stack import Bench, bench, finish, missing
from bench.support.statistics import Summary, median_interval
from kloister.images.importer import import_image
from kloister.images.samples.redis import OPTIONS, assemble_redis
from kloister.serve.ports import free_port

AIM = 0.97  # of the native rate
TESTS = ("SET", "GET")
CPU = "both, per CPU second"  # of the server's processor time: other load on the core hardly moves it
INSIDE, OUTSIDE = "enclave", "native"
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 120.0  # seconds for a server to answer
Rates = dict[tuple[str, str], list[float]]  # (where, test) -> requests per second, one of each pair


def main() -> None:
    arguments = _arguments()
    if (name := missing(["redis-server", "redis-benchmark", "taskset"])) is not None:
        skip(f"{name} is not installed (apt-get install redis-server redis-tools util-linux)")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:  # noqa: PLR2004 -- one for the server, one for the client
        skip("the benchmark needs two cores")
    os.sched_setaffinity(0, cores[:1])  # the daemons and both servers inherit it
    port = free_port()
    with bench() as place:
        prepare(place, port)
        rates = measure(place, port, cores[1], arguments)
    report(rates, arguments)


def server(port: int) -> list[str]:
    """The command line of both servers: nothing is written to a disk."""
    return ["/usr/bin/redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]


def prepare(place: Bench, port: int) -> None:
    """The sample with these arguments, converted; they are measured, so the port is the same in every run."""
    root = place.directory / "root"
    assemble_redis(root)
    plain = f"oci:{place.directory / 'plain'}:redis"
    import_image(root, plain, replace(OPTIONS, entrypoint=tuple(server(port))))
    place.kloister("convert", plain, "redis")


def measure(place: Bench, port: int, core: int, arguments: argparse.Namespace) -> Rates:
    rates: Rates = defaultdict(list)
    starts = {INSIDE: lambda: enclave(place), OUTSIDE: lambda: native(place, port)}
    for pair in range(arguments.pairs):
        for where in sorted(starts, reverse=bool(pair % 2)):
            with starts[where]() as process:
                pid = await_server(port, process)
                before = processor_seconds(pid)
                for test, rate in rate_of(port, core, arguments.requests).items():
                    rates[where, test].append(rate)
                spent = max(processor_seconds(pid) - before, 1 / _TICKS)
                rates[where, CPU].append(len(TESTS) * arguments.requests / spent)
    return rates


@contextmanager
def enclave(place: Bench) -> Iterator[subprocess.Popen[bytes]]:
    """The server inside, from its start to its end."""
    process = place.start("redis")
    try:
        yield process
    finally:
        finish(process)


@contextmanager
def native(place: Bench, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The same program outside."""
    with tempfile.TemporaryDirectory(dir=place.directory) as directory:
        process = subprocess.Popen(
            server(port), cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,  # as the enclave's: the scheduler shares a busy core out among sessions first
        )  # fmt: skip
        try:
            yield process
        finally:
            finish(process)


def await_server(port: int, process: subprocess.Popen[bytes]) -> int:
    """The process id of the server once it answers; end the benchmark with its words when it cannot any more."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(7) == b"+PONG\r\n":
                    return server_of(port)
        except OSError:
            time.sleep(0.02)
    process.kill()
    sys.exit(f"redis-server does not answer: {(process.communicate()[1] or b'').decode()}")


def server_of(port: int) -> int:
    """The server that calls itself `redis-server ADDRESS:PORT`: one in an enclave is a process of this machine too."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")[0].decode().split() if entry.name.isdigit() else []
        except (OSError, ValueError):
            continue
        if len(words) > 1 and words[0].endswith("redis-server") and words[1] == f"127.0.0.1:{port}":
            return int(entry.name)
    sys.exit("the redis-server that answers is not among this machine's processes")


def processor_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), /proc/pid/stat, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rate_of(port: int, core: int, requests: int) -> dict[str, float]:
    """Requests per second of each test, by `redis-benchmark` on its own core."""
    command = ["taskset", "-c", str(core), "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "--csv"]
    command += ["-n", str(requests), "-c", "50", "-d", "64", "-r", "10000", "-t", ",".join(TESTS).lower()]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    rates = {row[0]: float(row[1]) for row in csv.reader(run.stdout.splitlines()) if row and row[0] in TESTS}
    if set(rates) != set(TESTS):
        sys.exit(f"redis-benchmark says something else than expected:\n{run.stdout}{run.stderr}")
    return rates


def report(rates: Rates, arguments: argparse.Namespace) -> None:
    rows, result = [], {}
    for test in (*TESTS, CPU):
        inside, outside = rates[INSIDE, test], rates[OUTSIDE, test]
        ratios = [mine / other for mine, other in zip(inside, outside, strict=True)]
        ratio, interval = Summary.of(ratios), median_interval(ratios)
        row = [f"{Summary.of(outside).median:,.0f}", f"{Summary.of(inside).median:,.0f}", f"{ratio.median:.3f}"]
        rows.append([test, *row, f"{interval[0]:.3f} to {interval[1]:.3f}", f"{ratio.least:.2f} to {ratio.most:.2f}"])
        result[test] = {
            "ratio": ratio.as_json(),
            "interval95": [round(end, 3) for end in interval],
            OUTSIDE: Summary.of(outside).as_json(),
            INSIDE: Summary.of(inside).as_json(),
        }
    title = (
        f"redis: {arguments.pairs} pairs, {arguments.requests:,} requests a test, 50 clients; aim: ratio {AIM} or more"
    )
    table(title, ["requests per second", OUTSIDE, INSIDE, "median ratio", "95 % interval", "extremes"], rows)
    shape = {"benchmark": "redis", "pairs": arguments.pairs, "requests": arguments.requests, "aim": AIM}
    write_json(arguments.json, {**shape, "tests": result})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20, help="pairs of runs [20]")
    parser.add_argument("--requests", type=int, default=100_000, help="requests of each test [100000]")
    parser.add_argument("--json", "--out", type=Path, help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
