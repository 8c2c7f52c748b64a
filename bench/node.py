"""The node agent against a kubelet's double and the real simulated platform: how fast, how large, how quiet.

The double asks as a kubelet does, over the plugin's own socket. Every Allocate of blocks makes an allocation: a folder,
its record, and its socket at the platform; those that take over another's blocks also end that one. The agent reports
to an API server's double over TLS, as in a pod, and makes the quotes of its node.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own directory is all that Python adds

from bench.support.output import table, write_json
from bench.support.processes import Watched
from kloister.kubernetes.names import ENCLAVE, EPC_BLOCK, PROVISION
from kloister.kubernetes.node.kubelet import device_plugin_pb2 as api
from tests.support.apiserver.server import ApiServer, in_cluster
from tests.support.kubelet import Kubelet
from tests.support.kubelet.pods import Pod

SIZES = ("32Gi,32Gi", "256Gi,256Gi")  # 8,192 blocks each, of 8 and of 64 MiB
BLOCKS = 8192
EACH = 16  # blocks of one container; 128 MiB of 64 GiB
LARGE = 1280  # blocks of one container; 10 GiB of 64 GiB
CONTAINERS = 100  # of a node that is nearly full
AIMS = {"Allocate": 5.0, "GetPreferredAllocation": 20.0, "resident": 80.0, "idle": 0.5}  # ms at p99, ms at p99, MB, %


def main() -> None:
    arguments = _arguments()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="kb", dir=_memory()) as name:
        for number, size in enumerate(SIZES):
            result[size] = measure(Path(name) / str(number), size, arguments)
    report(result)
    write_json(arguments.json, {"aims": AIMS, "nodes": result})


def _memory() -> str | None:
    """A tmpfs, as /run is, which ordinary users may write too."""
    place = "/dev/shm"  # noqa: S108 -- a folder of a random name is made in it
    return place if os.access(place, os.W_OK) else None


def measure(folder: Path, size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one node."""
    state, kubelet = folder / "state", Kubelet(folder / "kubelet")
    control = state / "platform" / "control.sock"
    account = folder / "account"
    epc = {"KLOISTER_PLATFORM_EPC": ",".join(str(int(one.removesuffix("Gi")) << 10) for one in size.split(","))}
    with (
        kubelet,
        in_cluster(ApiServer(), account) as pod,
        served("platform", "--state", state, environment=epc),
        waited(control),
    ):
        began = time.monotonic()
        options = (
            "--simulate",
            size,
            "--platform",
            control,
            "--run",
            folder / "run",
            "--listen",
            "127.0.0.1:0",
            "--root",
            folder,
            "--node-name",
            "bench",
            "--service-account",
            account,
        )
        with served("node", *options, "--kubelet", folder / "kubelet", environment=pod) as pid:
            kubelet.wait(lambda: full(kubelet), 120)
            found: dict[str, Any] = {"started": (time.monotonic() - began) * 1000}
            found["listed"] = kubelet.endpoints[EPC_BLOCK].seconds * 1000
            began = time.monotonic()
            kubelet.restart()
            kubelet.wait(lambda: full(kubelet), 120)
            found["restarted"] = (time.monotonic() - began) * 1000
            found["Allocate"] = allocate(kubelet, arguments.calls)
            found["GetPreferredAllocation"] = prefer(kubelet, arguments.calls)
            found |= at_rest(pid, arguments.seconds)
    return found


def full(kubelet: Kubelet) -> bool:
    """Whether all devices of all resources can be allocated."""
    return kubelet.allocatable(EPC_BLOCK) == BLOCKS and all(kubelet.allocatable(one) for one in (ENCLAVE, PROVISION))


def allocate(kubelet: Kubelet, calls: int) -> list[float]:
    """Milliseconds of each call; from the 101st on each takes over the blocks of an ended container."""
    endpoint = kubelet.endpoints[EPC_BLOCK]
    ids = sorted(endpoint.devices)
    series: list[float] = []
    for number in range(calls):
        first = number % CONTAINERS * EACH
        blocks = ids[first : first + EACH]
        if number < CONTAINERS:  # without a pod that the kubelet lists, an allocation ends after a while
            kubelet.pods.append(Pod("bench", f"pod-{number}", f"uid-{number}", {"app": {EPC_BLOCK: blocks}}))
        one = api.ContainerAllocateRequest(device_ids=blocks)
        request = api.AllocateRequest(container_requests=[one])
        began = time.perf_counter()
        endpoint.ask("Allocate", request, api.AllocateResponse)
        series.append((time.perf_counter() - began) * 1000)
    return series


def prefer(kubelet: Kubelet, calls: int) -> list[float]:
    """Milliseconds of each call: 1,280 of 8,192 free blocks."""
    endpoint = kubelet.endpoints[EPC_BLOCK]
    ids = sorted(endpoint.devices)
    one = api.ContainerPreferredAllocationRequest(available_device_ids=ids, allocation_size=LARGE)
    request = api.PreferredAllocationRequest(container_requests=[one])
    series: list[float] = []
    for _ in range(calls):
        began = time.perf_counter()
        endpoint.ask("GetPreferredAllocation", request, api.PreferredAllocationResponse)
        series.append((time.perf_counter() - began) * 1000)
    return series


def at_rest(pid: int, seconds: float) -> dict[str, float]:
    """Resident megabytes, and percent of one processor while nobody asks for anything."""
    time.sleep(1)
    before, began = used(pid), time.monotonic()
    time.sleep(seconds)
    idle = (used(pid) - before) / (time.monotonic() - began) * 100
    watched = Watched()
    watched.look(pid)
    return {"idle": idle, "resident": watched.resident / 1e6}


def used(pid: int) -> float:
    """Seconds of processor time, to the nanosecond: /proc/PID/stat counts hundredths."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # the thread has just ended
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


@contextmanager
def served(*arguments: str | Path, environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[int]:
    """A daemon of ours; its process id."""
    command: list[str | Path] = [sys.executable, "-m", "kloister", "serve", *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **environment}) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def waited(path: Path) -> Iterator[None]:
    """Until a file is there."""
    deadline = time.monotonic() + 120
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.02)
    yield


def percentile(series: list[float], share: float) -> float:
    """The smallest value that at least `share` of the series does not exceed."""
    return sorted(series)[max(0, math.ceil(share * len(series)) - 1)]


def report(result: dict[str, Any]) -> None:
    """The table."""
    rows: list[list[str]] = []
    for size, found in result.items():
        rows += [
            [f"{size}: process to allocatable", f"{found['started']:.0f} ms", "", ""],
            ["  registration to list", f"{found['listed']:.1f} ms", "", ""],
            ["  kubelet's restart to allocatable", f"{found['restarted']:.0f} ms", "", ""],
        ]
        for name in ("Allocate", "GetPreferredAllocation"):
            middle, high = percentile(found[name], 0.5), percentile(found[name], 0.99)
            rows.append([f"  {name}", f"{middle:.2f} ms", f"{high:.2f} ms", f"{AIMS[name]:.0f} ms"])
        rows.append(["  resident memory", f"{found['resident']:.1f} MB", "", f"{AIMS['resident']:.0f} MB"])
        rows.append(["  processor while idle", f"{found['idle']:.2f} %", "", f"{AIMS['idle']:.1f} %"])
    table("node agent, 8,192 blocks", ["", "median", "p99", "aim"], rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="calls of each kind")
    parser.add_argument("--seconds", type=float, default=20.0, help="of rest")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
