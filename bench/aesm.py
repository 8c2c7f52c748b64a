"""What the AESM socket costs: time that it adds to one quote, and quotes per second with many clients at once.

Both servers are processes of their own: the simulated platform, and the helper with its log and its figures. A quote
is timed over the platform's control socket and over the helper's, in turns; both connect for every quote.
"""

from __future__ import annotations

import argparse
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.support.output import table, write_json
from bench.support.processes import Watched
from kloister.errors import Unavailable
from kloister.formats.protocol import aesm
from kloister.formats.protocol.quoting import QuoteReport
from kloister.tee.simulated.client import PlatformClient

HELPER = Path(__file__).parent / "support" / "quote_helper.py"
BUFFER = 8192  # bytes; what Gramine has its quotes padded to
PATIENCE = 120.0  # seconds for a server to start
Result = TypeVar("Result")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        state, path = Path(folder) / "state", Path(folder) / "aesm.socket"
        control = state / "platform" / "control.sock"
        stack.enter_context(_process("-m", "kloister", "serve", "platform", "--state", str(state)))
        platform = PlatformClient(control)
        target = _eventually(lambda: platform.qe_info().target_info)
        helper = stack.enter_context(_process(str(HELPER), str(control), str(path)))
        report = platform.report_content(b"bench", target, bytes(64))
        frame = aesm.frame(aesm.build_request(aesm.GetQuote(report, aesm.ECDSA_P256, size=BUFFER)))
        _eventually(lambda: _ask(path, frame))
        latency = _latency(lambda: platform.quote_report(QuoteReport(report)), lambda: _ask(path, frame), options.calls)
        before = _cpu(helper.pid)
        rates = [_rate(path, frame, options.clients, options.quotes) for _ in range(options.rounds)]
        busy = (_cpu(helper.pid) - before) / (options.quotes * options.rounds)
    result = {
        "milliseconds": latency,
        "clients": options.clients,
        "quotes per second": round(statistics.median(rates)),
        "rounds": [round(rate) for rate in rates],
        "processor time of the helper per quote, microseconds": round(busy * 1e6),
    }
    _show(result)
    write_json(options.json, result)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="quotes of each kind for the latency")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--quotes", type=int, default=5000, help="quotes of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _eventually(action: Callable[[], Result]) -> Result:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except (OSError, Unavailable):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _ask(path: Path, frame: bytes) -> None:
    """A quote, as a client that blocks gets it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(frame)
        got = 0
        while chunk := sock.recv(65536):
            got += len(chunk)
    assert got > BUFFER


def _latency(direct: Callable[[], object], helped: Callable[[], object], calls: int) -> dict[str, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(calls):
        for action, found in zip((direct, helped), times, strict=True):
            begin = time.perf_counter()
            action()
            found.append((time.perf_counter() - begin) * 1e3)
    p50 = [statistics.median(found) for found in times]
    p99 = [statistics.quantiles(found, n=100)[98] for found in times]
    names = ("platform p50", "helper p50", "added p50", "platform p99", "helper p99")
    return dict(zip(names, (round(one, 3) for one in (*p50, p50[1] - p50[0], *p99)), strict=True))


def _rate(path: Path, frame: bytes, clients: int, quotes: int) -> float:
    """Quotes per second while that many clients ask, each connecting anew for every quote."""
    begun = done = 0
    begin = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        while done < quotes:
            while begun < min(quotes, done + clients):
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(str(path))
                sock.sendall(frame)
                selector.register(sock, selectors.EVENT_READ, [0])
                begun += 1
            for key, _ in selector.select():
                done += _take(selector, key)
    return quotes / (time.perf_counter() - begin)


def _take(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> bool:
    """Read what is there; whether it was the end."""
    assert isinstance(key.fileobj, socket.socket)
    chunk = key.fileobj.recv(65536)
    key.data[0] += len(chunk)
    if chunk:
        return False
    assert key.data[0] > BUFFER
    selector.unregister(key.fileobj)
    key.fileobj.close()
    return True


def _cpu(pid: int) -> float:
    """Seconds of processor time."""
    watched = Watched()
    watched.look(pid)
    return watched.cpu[pid]


def _show(result: dict[str, Any]) -> None:
    table(
        "A quote, milliseconds", ["", "ms"], [[name, f"{value:.3f}"] for name, value in result["milliseconds"].items()]
    )
    table(
        f"{result['clients']} clients",
        ["", ""],
        [[name, str(result[name])] for name in list(result)[2:]],
    )


if __name__ == "__main__":
    main()
