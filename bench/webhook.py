"""How long a pod waits for the webhook: its real process, TLS kept alive, a pod as Azure's samples show it.

The API server is a double on loopback; the time is the caller's, from request to answer. Aim: p99 under 10 ms.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own directory is all that Python adds

from bench.support.output import table, write_json
from tests.support.apiserver.server import ApiServer, running
from tests.support.apiserver.webhook import Caller, authorities, review, webhook

CLIENTS = (1, 8)  # an API server keeps few connections; a Deployment of hundreds comes over them
AIM = 10.0  # ms at p99


def main() -> None:
    arguments = _arguments()
    server = ApiServer()
    result: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="kloister-bench-") as name,
        running(server, Path(name)) as kubeconfig,
        webhook(server, kubeconfig) as (port, _),
    ):
        trusted = authorities(server)
        for clients in CLIENTS:
            measured(port, trusted, clients, arguments.calls // 10)
            result[str(clients)] = measured(port, trusted, clients, arguments.calls)
    table("webhook", ["clients", "p50", "p99", "aim"], [_row(clients, found) for clients, found in result.items()])
    write_json(arguments.json, {"aims": {"p99": AIM}, "milliseconds": result})


def measured(port: int, trusted: bytes, clients: int, count: int) -> list[float]:
    """Milliseconds of each call, in order of size."""
    samples: list[float] = []
    asked = (port, trusted, max(1, count // clients), samples)
    threads = [threading.Thread(target=calls, args=asked) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(samples)


def calls(port: int, trusted: bytes, count: int, into: list[float]) -> None:
    """One client over one connection."""
    caller = Caller(port, trusted)
    body = review({"sgx.intel.com/epc": "10Mi"})
    for _ in range(count):
        began = time.perf_counter()
        status, _ = caller.ask(body)
        into.append((time.perf_counter() - began) * 1000)
        if status != 200:  # noqa: PLR2004 (HTTP)
            raise RuntimeError(status)
    caller.close()


def _row(clients: str, found: list[float]) -> list[str]:
    middle, high = found[len(found) // 2], found[int(len(found) * 0.99)]
    return [clients, f"{middle:.2f} ms", f"{high:.2f} ms", f"{AIM:.0f} ms"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="for each number of clients")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
