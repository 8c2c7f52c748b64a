"""What it costs to evaluate an attestation policy on claims. One process, one thread, CPU time.

Rows: the default policy of SGX; 100 rules of two conditions and three comparisons each; the same with a trace; and
parsing, which is done once for each policy.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own directory is all that Python adds

from bench.support.output import table, write_json
from bench.support.statistics import Summary
from kloister.trust.policy.maa import ATTESTATION_SERVICE, Claim, default_policy, evaluate, parse_policy

DEFAULT, HUNDRED = "default policy", "100 rules"
AIMS = {DEFAULT: 50.0, HUNDRED: 1000.0}  # microseconds
_SGX: dict[str, str | int | bool] = {
    "x-ms-attestation-type": "sgx",
    "x-ms-sgx-is-debuggable": False,
    "x-ms-sgx-product-id": 1,
    "x-ms-sgx-svn": 1,
    "x-ms-sgx-mrsigner": "aa" * 32,
    "x-ms-sgx-mrenclave": "bb" * 32,
    "x-ms-sgx-report-data": "00" * 64,
    "x-ms-ver": "1.0",
    "kloister-tcb-status": "UpToDate",
    "kloister-simulated": False,
}
CLAIMS = [Claim(name, value, ATTESTATION_SERVICE) for name, value in _SGX.items()]
_RULE = (
    'c:[type=="x-ms-sgx-mrsigner", issuer=="AttestationService", value!="{0}"] && [type=="x-ms-sgx-svn", value>=0] '
    '=> issue(type="n{0}", value=c.value);'
)


def calls() -> dict[str, Callable[[], object]]:
    """Each row's call."""
    short = default_policy("SgxEnclave") or ""
    rules = "".join(_RULE.format(number) for number in range(100))
    long = f"version=1.0;authorizationrules{{=>permit();}};issuancerules{{{rules}}};"
    default, hundred = parse_policy(short), parse_policy(long)
    return {
        DEFAULT: lambda: evaluate(default, CLAIMS),
        HUNDRED: lambda: evaluate(hundred, CLAIMS),
        "100 rules, traced": lambda: evaluate(hundred, CLAIMS, trace=True),
        "parse the default policy": lambda: parse_policy(short),
        "parse 100 rules": lambda: parse_policy(long),
    }


def measure(blocks: int, number: int) -> dict[str, list[float]]:
    """Microseconds of CPU time per call, one figure per block."""
    found: dict[str, list[float]] = {}
    for name, call in calls().items():
        call()
        found[name] = []
        for _ in range(blocks):
            began = time.process_time()
            for _ in range(number):
                call()
            found[name].append((time.process_time() - began) / number * 1e6)
    return found


def main() -> None:
    arguments = _arguments()
    found = measure(arguments.blocks, arguments.calls)
    rows = [
        [name, *Summary.of(values).row(), f"{AIMS[name]:.0f}" if name in AIMS else ""] for name, values in found.items()
    ]
    header = ["microseconds of CPU", "median", "quartiles", "extremes", "aim"]
    table(f"attestation policies: {arguments.blocks} blocks of {arguments.calls} calls", header, rows)
    result: dict[str, Any] = {
        "benchmark": "maa_policy",
        "unit": "us of CPU time per call",
        "rows": {name: Summary.of(values).as_json() for name, values in found.items()},
        "aims": AIMS,
    }
    write_json(arguments.json, result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=30, help="blocks of each row [30]")
    parser.add_argument("--calls", type=int, default=20, help="calls in a block [20]")
    parser.add_argument("--json", "--out", type=Path, help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
