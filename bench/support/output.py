"""How a benchmark shows what it found: a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

SKIPPED = 0  # exit status when a program that is measured against is missing: nothing was found to be wrong


def skip(reason: str) -> NoReturn:
    """Leave with a message: the benchmark cannot be run here."""
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}")
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells).rstrip())
    print(flush=True)


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """The result with the machine it was found on, if a path was given."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """What a reader of figures wants to know about the machine."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
