"""What the attestation service does in a second, beside what its signatures alone cost.

The real process behind TLS, asked for SGX tokens by clients that keep their connections; collateral, platform, quoting
enclave and enclave were seen before, as they are in a service that runs, and report data differ. Each answer needs one
P-256 verification (of the quote) and one signature (of the token): `openssl speed` says how many of these pairs one
core does, which is the bound.

Cores are shared out: one worker on each of the first half, the clients on the others. `share` is the rate as part of
the bound of the workers' cores; `share of CPU` is the same by the workers' CPU time, which other programs on the
machine disturb less, and a client that is too slow does not at all. Requests come in blocks, and between them the bound
is looked at again: rates and bound are medians, and `best` is the best block beside the best look.

`--memory N` asks one worker N times and says what it holds then.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own directory is all that Python adds

from bench.support.output import skip, table, write_json
from bench.support.processes import Watched
from kloister.formats.wire import b64url
from tests.support.attestation import bound as binding
from tests.support.attestation import client_data
from tests.support.attestation_process import Service, configured, started
from tests.support.evidence import ENCLAVE, Forge
from tests.support.ports import free_port

AIMS = {"RS256": 0.60, "ES256": 0.45}  # of the bound
READY, MEMORY = 2.0, 120.0  # seconds from start to ready; MB of one worker
CLIENTS = (1, 32)
BLOCKS = 10
_QUOTES = 200  # different ones, in turn
_SIGNERS = {"RS256": "rsa2048", "ES256": "ecdsap256"}


def main() -> None:
    arguments = _arguments()
    if shutil.which("openssl") is None:
        skip("openssl is not installed")
    with tempfile.TemporaryDirectory(prefix="kloister-bench-") as name:
        requests = Path(name) / "requests.json"
        if arguments.memory:
            write_json(arguments.json, {"memory": memory(Path(name), requests, arguments.memory)})
            return
        found = {each: measured(Path(name) / each, requests, each, arguments.requests) for each in AIMS}
    rows = [
        _row(algorithm, clients, one) for algorithm, one in found.items() for clients, one in one["clients"].items()
    ]
    head = ["tokens, clients", "requests/s", "p50", "p99", "bound", "share", "share of CPU", "best", "aim"]
    table("SGX attestation over TLS", head, rows)
    ready = max(each["readySeconds"] for each in found.values())
    print(f"  start to ready: {ready:.2f} s (aim {READY:.0f} s)")
    write_json(arguments.json, {"aims": {**AIMS, "readySeconds": READY}, "algorithms": found})


def measured(directory: Path, requests: Path, algorithm: str, count: int) -> dict[str, Any]:
    """Figures of one algorithm."""
    served, asking = _cores()
    result: dict[str, Any] = {"workers": len(served), "clients": {}}
    bounds = [_bound(algorithm, served)]
    with _service(directory, requests, served, "--tokens-algorithm", algorithm) as (service, seconds):
        result["readySeconds"] = round(seconds, 3)
        _asked(service, requests, asking, max(CLIENTS), max(50, count // 10))  # what is seen for the first time
        for clients in CLIENTS:
            result["clients"][str(clients)] = _asked(service, requests, asking, clients, count)
            bounds.append(_bound(algorithm, served))
    result["bound"], result["bestBound"] = statistics.median(bounds), max(bounds)
    for found in result["clients"].values():
        found["share"] = found["rate"] / (result["bound"] * len(served))
        found["shareOfCpu"] = found["perCpuSecond"] / result["bound"]
        found["best"] = found["bestPerCpuSecond"] / result["bestBound"]
    return result


def memory(directory: Path, requests: Path, count: int) -> dict[str, Any]:
    """MB that one worker holds before and after so many requests."""
    served, asking = _cores()
    with _service(directory / "one", requests, served[:1]) as (service, _):
        before = _resident(service)
        _asked(service, requests, asking, max(CLIENTS), count)
        after = _resident(service)
    rows = [["at the start", f"{before:.0f} MB", ""], [f"after {count}", f"{after:.0f} MB", f"{MEMORY:.0f} MB"]]
    table("memory of one worker", ["", "resident", "aim"], rows)
    return {"requests": count, "before": before, "after": after, "aim": MEMORY}


@contextmanager
def _service(directory: Path, requests: Path, cores: list[int], *options: str) -> Iterator[tuple[Service, float]]:
    """The process on these cores, and the seconds it took to be ready."""
    directory.mkdir()
    port = free_port()
    configured(directory, port)
    if not requests.exists():
        requests.write_text(json.dumps(list(_requests())))
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # for the child
    begin = time.perf_counter()
    with started(directory, port, "--workers", str(len(cores)), "--limits-rate", "0", *options) as service:
        seconds = time.perf_counter() - begin
        os.sched_setaffinity(0, ours)
        yield service, seconds


def _requests() -> Iterator[str]:
    """Requests of SGX clients with data that their quotes bind."""
    for number in range(_QUOTES):
        data = f"data of client {number}".encode()
        quote = Forge(enclave=replace(ENCLAVE, report_data=binding(data))).quote()
        body = json.dumps({"quote": b64url(quote), "runtimeData": client_data(data)})
        yield (
            "POST /attest/SgxEnclave?api-version=2020-10-01 HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )


def _asked(service: Service, requests: Path, cores: list[int], clients: int, count: int) -> dict[str, Any]:
    """What clients, in a process of their own, have seen."""
    named = {
        "port": service.port, "ca": service.directory / "ca.pem", "requests": requests, "clients": clients,
        "count": count, "blocks": BLOCKS,
    }  # fmt: skip
    load = [str(Path(__file__).parent / "support" / "attest_load.py"), "--pids", *map(str, _pids(service))]
    options = [text for name, value in named.items() for text in (f"--{name}", str(value))]
    command = ["taskset", "-c", _listed(cores), sys.executable, *load, *options]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    if found["wrong"]:
        raise RuntimeError(f"{found['wrong']} answers were no tokens")
    size = count // BLOCKS
    per_cpu = [size / block["cpu"] for block in found["blocks"]]
    return {
        "rate": statistics.median(size / block["seconds"] for block in found["blocks"]),
        "p50": found["p50"],
        "p99": found["p99"],
        "perCpuSecond": statistics.median(per_cpu),
        "bestPerCpuSecond": max(per_cpu),
    }


def _bound(algorithm: str, cores: list[int]) -> float:
    """Pairs of a verification and a signature that one core does in a second."""
    names = dict.fromkeys(("ecdsap256", _SIGNERS[algorithm]))
    command = ["taskset", "-c", str(cores[0]), "openssl", "speed", "-mr", "-seconds", "1", *names]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rates = {line.split(":")[0]: [_rate(each) for each in line.split(":")[3:5]] for line in lines if line[:2] == "+F"}
    return 1 / (1 / rates["+F2" if algorithm == "RS256" else "+F4"][0] + 1 / rates["+F4"][1])


def _rate(text: str) -> float:
    """Operations per second; some versions of openssl say seconds per operation."""
    return float(text) if float(text) > 1 else 1 / float(text)


def _cores() -> tuple[list[int], list[int]]:
    """Those of the workers, and those of the clients; one core is both."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    return cores[:half], cores[half:] or cores


def _pids(service: Service) -> list[int]:
    """The process, and its workers where it has several."""
    watched = Watched()
    watched.look(service.process.pid)
    return list(watched.cpu)


def _resident(service: Service) -> float:
    watched = Watched()
    watched.look(service.process.pid)
    return watched.resident / 1e6


def _listed(cores: Sequence[int]) -> str:
    return ",".join(map(str, cores))


def _row(algorithm: str, clients: str, found: dict[str, Any]) -> list[str]:
    return [
        f"{algorithm}, {clients}", f"{found['rate']:.0f}", f"{found['p50']:.2f} ms", f"{found['p99']:.2f} ms",
        f"{found['rate'] / found['share']:.0f}/s",
        *(f"{part:.0%}" for part in (found["share"], found["shareOfCpu"], found["best"], AIMS[algorithm])),
    ]  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="for each number of clients")
    parser.add_argument(
        "--memory", type=int, metavar="N", help="ask one worker N times instead, and look at its memory"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
