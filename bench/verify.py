"""What it costs to verify a quote, beside dcap-qvl, on the same quotes and collateral.

One process, one thread, CPU time; blocks of both programs alternate, so that a busy machine slows both alike. Both are
given collateral that has been read from JSON before, because both keep it as an object. Rows:

    cold           nothing was seen before
    warm           collateral and PCK chain were seen before: the QE report and the quote are verified (2 signatures)
    warm, QE seen  the QE report as well: the quote is verified (1 signature)
    reject         as the three above, for the same quote with a changed REPORTDATA

dcap-qvl has no cache: each row is compared with the same full verification of its own. A block begins with calls that
are not counted, because the one before has filled the processor's caches with another program.

What dcap-qvl has no counterpart for follows (`support/alone.py`); `--batch` measures many processes
instead (`support/batch.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own directory is all that Python adds

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.support.alone import groups
from bench.support.batch import batch
from bench.support.output import skip, table, write_json
from bench.support.statistics import Summary, median_interval
from kloister.errors import KloisterError
from kloister.trust.verifier import INTEL_ROOT, Collateral, VerifierCache, verify_quote

VECTORS = Path(os.environ.get("KLOISTER_VECTORS", Path(__file__).resolve().parents[2] / "shared" / "vectors"))
SETS = {
    "SGX v3": "auto/sgx-v3-00606a000000-b7ab1cb4-e17-t3",
    "TDX v4": "auto/tdx-v4-00806f050000-00b2526a-e17-t3",
}
THEIRS, P256, NEW_KEY = "dcap-qvl", "one P-256 verification", "one by a key that is new"
COLD, WARM, SEEN = "cold", "warm", "warm, QE seen"
SIGNATURES = {COLD: 9, WARM: 2, SEEN: 1}  # the fewest that a row can do with
NEW_KEYS = {COLD: 4, WARM: 1, SEEN: 0}  # of which so many are by a key that must be read first
AIMS = {COLD: 1.0, WARM: 5.0, SEEN: 8.0}  # times dcap-qvl's pace
_UNCOUNTED = 3  # calls in front of a block
_REPORT_DATA = {3: 48 + 320, 4: 48 + 520}  # by version: offset of REPORTDATA
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A quote with its collateral, for both programs."""

    quote: bytes
    document: dict[str, Any]
    at: datetime

    @classmethod
    def read(cls, name: str) -> Evidence:
        """A set of the shared vectors."""
        folder = VECTORS / "evidence" / name
        entries = json.loads((VECTORS / "evidence" / "index.json").read_text())
        at = next(entry["verify_at"] for entry in entries if entry["set"] == name)
        document = json.loads((folder / "collateral.json").read_text())
        return cls((folder / "quote.bin").read_bytes(), document, datetime.fromtimestamp(at, UTC))

    def damaged(self) -> bytes:
        """The quote with one bit of REPORTDATA flipped."""
        at = _REPORT_DATA[self.quote[0]]
        return self.quote[:at] + bytes([self.quote[at] ^ 1]) + self.quote[at + 1 :]


def main() -> None:
    arguments = _arguments()
    if arguments.batch:
        found = batch(arguments.batch, arguments.platforms, arguments.jobs, arguments.repeats)
        write_json(arguments.json, {"benchmark": "verify --batch", **found})
        return
    if not (VECTORS / "evidence" / "index.json").exists():
        skip(f"the test vectors are not at {VECTORS} (KLOISTER_VECTORS)")
    try:
        other = import_module("dcap_qvl")
    except ImportError:
        skip("dcap-qvl is not installed")
    results = {}
    for title, name in SETS.items():
        calls = dict(contenders(Evidence.read(name), other))
        results[title] = measure(calls, arguments.blocks, arguments.calls)
        report(title, results[title], arguments)
    alone = {group.title: group.show(measure(group.calls, arguments.blocks, arguments.calls)) for group in groups()}
    write_json(
        arguments.json,
        {
            "benchmark": "verify",
            "unit": "us of CPU time per call",
            "blocks": arguments.blocks,
            "calls": arguments.calls,
            "sets": {title: _as_json(SETS[title], found) for title, found in results.items()},
            "alone": alone,
        },
    )


def contenders(evidence: Evidence, other: Any) -> Iterator[tuple[str, Call]]:
    """Each row's call; all are made once before anything is measured."""
    yield from _verifications()
    text = json.dumps({key: value for key, value in evidence.document.items() if key != "pck_certificate_chain"})
    theirs, now = other.QuoteCollateralV3.from_json(text), int(evidence.at.timestamp())
    ours, roots = Collateral.from_json(evidence.document), [INTEL_ROOT]
    caches = {COLD: None, WARM: VerifierCache(quoting_enclaves=0), SEEN: VerifierCache()}
    for suffix, quote in (("", evidence.quote), (", reject", evidence.damaged())):
        yield THEIRS + suffix, _refusable(partial(other.verify, quote, theirs, now))
        for row, cache in caches.items():
            call = _refusable(partial(verify_quote, quote, ours, roots, evidence.at, cache))
            call()
            yield row + suffix, call


def _refusable(call: Call) -> Call:
    def judged() -> object:
        try:
            return call()
        except (KloisterError, ValueError) as refusal:
            return refusal

    return judged


def _verifications() -> Iterator[tuple[str, Call]]:
    """What nothing that uses `cryptography` can do without."""
    key, algorithm, data = ec.derive_private_key(1234567, ec.SECP256R1()), ec.ECDSA(hashes.SHA256()), bytes(632)
    signature, public, curve = key.sign(data, algorithm), key.public_key(), ec.SECP256R1()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    read = ec.EllipticCurvePublicKey.from_encoded_point
    yield P256, lambda: public.verify(signature, data, algorithm)
    yield NEW_KEY, lambda: read(curve, point).verify(signature, data, algorithm)


def measure(calls: Mapping[str, Call], blocks: int, number: int) -> dict[str, list[float]]:
    """Microseconds of CPU time per call, one figure per block."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(blocks):
        for name, call in calls.items():
            for _ in range(_UNCOUNTED):
                call()
            began = time.process_time()
            for _ in range(number):
                call()
            samples[name].append((time.process_time() - began) / number * 1e6)
    return samples


def ratios(samples: dict[str, list[float]], row: str) -> list[float]:
    """How many times faster than dcap-qvl, block by block."""
    theirs = THEIRS + (", reject" if row.endswith("reject") else "")
    return [other / ours for other, ours in zip(samples[theirs], samples[row], strict=True)]


def share(samples: dict[str, list[float]], row: str, *, keys: bool) -> float:
    """The time that the signatures alone would take, with the reading of keys or without, as a part of the whole."""
    one, new, whole = (statistics.median(samples[each]) for each in (P256, NEW_KEY, row))
    return (SIGNATURES[row] * one + (NEW_KEYS[row] * (new - one) if keys else 0)) / whole


def report(title: str, samples: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    header = ["microseconds of CPU", "median", "quartiles", "extremes", "times dcap-qvl", "95 %", "aim"]
    header += ["of it signatures", "and new keys"]
    rows = []
    for name, values in samples.items():
        row = [name, *Summary.of(values).row(), "", "", "", "", ""]
        if name.partition(",")[0] in (COLD, WARM):
            found = ratios(samples, name)
            low, high = median_interval(found)
            row[4:6] = [f"{statistics.median(found):.2f}", f"{low:.2f} to {high:.2f}"]
        if name in AIMS:
            row[6:] = [f"{AIMS[name]:.0f}", *(f"{share(samples, name, keys=keys):.0%}" for keys in (False, True))]
        rows.append(row)
    table(f"{title}: {arguments.blocks} blocks of {arguments.calls} calls, interleaved", header, rows)


def _as_json(name: str, samples: dict[str, list[float]]) -> dict[str, Any]:
    compared = [row for row in samples if row.partition(",")[0] in (COLD, WARM)]
    return {
        "set": name,
        "samples": {row: [round(value, 3) for value in values] for row, values in samples.items()},
        "ratios": {row: Summary.of(ratios(samples, row)).as_json() for row in compared},
        "interval95": {row: [round(end, 3) for end in median_interval(ratios(samples, row))] for row in compared},
        "shareOfBound": {row: round(share(samples, row, keys=False), 3) for row in SIGNATURES},
        "shareOfSignaturesAndKeys": {row: round(share(samples, row, keys=True), 3) for row in SIGNATURES},
        "aims": AIMS,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=30, help="blocks of each row [30]")
    parser.add_argument("--calls", type=int, default=50, help="calls in a block [50]")
    parser.add_argument("--batch", type=int, metavar="N", help="instead: N quotes by `kloister verify --batch`")
    parser.add_argument("--platforms", type=int, default=1000, help="of so many simulated platforms [1000]")
    parser.add_argument("--jobs", type=int, default=2, help="processes that are compared with one [2]")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each [3]")
    parser.add_argument("--json", "--out", type=Path, help="write the figures, raw ones included, to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
