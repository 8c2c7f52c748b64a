"""From `kloister run` (stack up, warm) to the application's first instruction, beside bubblewrap with the same root.

Both are timed from the start of the command. Kloister's end is its last phase, after which the launcher only executes
the application; bubblewrap's is the first instruction of a program of 150 bytes. Bubblewrap is given a directory with
the same files: it copies nothing, measures nothing, attests nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own directory is all that Python adds

from bench.support.output import skip, table, write_json
from bench.support.stack import ROOT, Bench, bench, finish, missing
from bench.support.statistics import Summary
from kloister.formats.enclave.tree import Kind, Tree
from kloister.images.samples import make_sample
from kloister.serve.ports import free_port

HANDOVER = "lockdown"  # the launcher's last phase: descriptors are closed and execve is called
WHOLE, INSIDE, COMMAND, BUBBLEWRAP = "kloister run", "  launcher and runner", "  command and platform", "bubblewrap"
AIMS = {WHOLE: 400.0, INSIDE: 250.0}  # milliseconds
PROBE = "kloister-bench-probe"
_CODE = 36  # bytes of the instructions of `probe`, behind which its letter stands
Series = dict[str, list[float]]


def main() -> None:
    arguments = _arguments()
    if (name := missing(["bwrap"])) is not None:
        skip(f"{name} is not installed (apt-get install bubblewrap)")
    with bench() as place:
        prepare(place)
        run_once(place)  # builds the pack and warms every cache
        root, files = extract(place.pack(), place.directory / "root")
        series: Series = defaultdict(list)
        for _ in range(arguments.runs):
            for label, value in run_once(place).items():
                series[label].append(value)
            series[BUBBLEWRAP].append(bubblewrap(root))
    report(series, files, arguments)


def prepare(place: Bench) -> None:
    """The clinic, converted, with its policy applied."""
    plain = f"oci:{place.directory / 'plain'}:clinic"
    make_sample("clinic", plain)
    place.kloister(
        "convert", plain, "clinic", "--policy", "clinic/inference", "--encrypt-file", "/app/*", "--simulated",
        "--policy-template", str(ROOT / "examples" / "clinic" / "policy.yaml"),
    )  # fmt: skip
    policies = place.state / "policies"
    keys = str(policies / "clinic.keys.json")
    place.kloister("policy", "apply", str(policies / "clinic.policy.yaml"), "--keys", keys)


def run_once(place: Bench) -> dict[str, float]:
    """Milliseconds of one launch: the whole, its two parts, and each phase as it was reported."""
    began = time.perf_counter()
    process = place.start("clinic", "--slot", f"PORT={free_port()}", "--timings")
    found: dict[str, float] = {}
    started = began
    for raw in process.stderr or ():
        now, words = time.perf_counter(), raw.decode().split()
        if words[0] == "enclave":
            started = now
        elif words[0] == "phase":
            found[f"    {words[1]}"] = float(words[2])
        if words[:2] == ["phase", HANDOVER]:
            finish(process)
            whole, inside = (now - began) * 1000, (now - started) * 1000
            return {WHOLE: whole, COMMAND: whole - inside, INSIDE: inside, **found}
    finish(process)
    sys.exit(f"kloister run ended with {process.returncode} before the application started")


def bubblewrap(root: Path) -> float:
    """Milliseconds from the start of `bwrap` to the first instruction inside."""
    began = time.perf_counter()
    with subprocess.Popen(
        [
            "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", str(root), "/", "--proc", "/proc",
            "--dev", "/dev", "--clearenv", f"/{PROBE}",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        said = os.read(process.stdout.fileno(), 1) if process.stdout else b""
        now = time.perf_counter()
        _, complaint = process.communicate(timeout=120)
    if said != b"!":
        sys.exit(f"bwrap does not work here: {complaint.decode().strip()}")
    return (now - began) * 1000


def extract(pack: Path, root: Path) -> tuple[Path, int]:
    """The pack's files as a directory, with the probe beside them; the directory and the number of regular files."""
    tree = Tree.parse((pack / "observed.tree").read_bytes())
    with (pack / "contents").open("rb") as contents:
        for entry in tree.entries:
            target = root / os.fsdecode(entry.path[1:])
            if entry.kind is Kind.DIRECTORY:
                target.mkdir(parents=True, exist_ok=True)
            elif entry.kind is Kind.FILE:
                target.write_bytes(contents.read(entry.size))
                target.chmod(entry.mode)
            elif entry.kind is Kind.SYMLINK:
                target.symlink_to(os.fsdecode(entry.target))
            else:
                shutil.copy(root / os.fsdecode(entry.target[1:]), target)
    for name in ("proc", "dev"):
        (root / name).mkdir(exist_ok=True)
    (root / PROBE).write_bytes(probe())
    (root / PROBE).chmod(0o755)
    return root, sum(entry.kind is Kind.FILE for entry in tree.entries)


def probe() -> bytes:
    """An x86-64 program without libraries: write(1, "!", 1), then exit(0). One segment (ELF-64, figures 3 and 6)."""
    base, head = 0x400000, 64 + 56  # of the headers
    code = bytes.fromhex("b801000000 bf01000000 48be") + struct.pack("<Q", base + head + _CODE)
    code += bytes.fromhex("ba01000000 0f05 31ff b83c000000 0f05")
    code = code + b"!"
    size = head + len(code)
    elf = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return elf + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def report(series: Series, files: int, arguments: argparse.Namespace) -> None:
    summaries = {label: Summary.of(values) for label, values in series.items()}
    header = ["milliseconds", "median", "quartiles", "extremes", "per 1,000 files", "aim"]
    rows = [
        [label, *summary.row(), f"{summary.median * 1000 / files:.1f}", f"{AIMS[label]:.0f}" if label in AIMS else ""]
        for label, summary in summaries.items()
    ]
    title = f"Start of the clinic image, {files} regular files, {arguments.runs} runs each, interleaved"
    table(title, header, rows)
    result: dict[str, Any] = {"benchmark": "launch", "runs": arguments.runs, "files": files, "unit": "ms"}
    result["series"] = {label.strip(): summary.as_json() for label, summary in summaries.items()}
    result["aims"] = {label.strip(): aim for label, aim in AIMS.items()}
    write_json(arguments.json, result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="launches of each kind [20]")
    parser.add_argument("--json", "--out", type=Path, help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
