"""What a batch costs on one core and on all: `kloister verify --batch` over quotes of simulated platforms."""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from bench.support.output import table
from bench.support.processes import Watched
from bench.support.stack import command
from kloister.formats.pki import sign_raw
from kloister.simulator.pki import SimulatedPki, Wanted, derive_key, derive_serial, issue
from tests.support.evidence import NOW, SEED, Forge

AIM_TIMES, AIM_MEMORY = 1.8, 300  # times one core on two; MB of all processes together
_REPORT_DATA = 48 + 320  # offset in a quote of version 3
_SIZE = slice(432, 436)  # of the signature data, which a signature of 64 bytes begins
_POLL = 0.1  # seconds between two looks at the memory


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the program: seconds, and the peak of the memory of all its processes.

    `resident` counts pages that several processes share once for each; `proportional` counts them once.
    """

    jobs: int
    wall: float
    cpu: float
    resident: int
    proportional: int

    def as_json(self) -> dict[str, Any]:
        """For machines; memory in MB."""
        memory = {"residentMB": round(self.resident / 1e6, 1), "proportionalMB": round(self.proportional / 1e6, 1)}
        return {"jobs": self.jobs, "wall": round(self.wall, 2), "cpu": round(self.cpu, 2), **memory}


@dataclass(frozen=True, slots=True)
class Platform:
    """A quote of a platform, and the key that makes others."""

    quote: bytes
    key: ec.EllipticCurvePrivateKey


def batch(number: int, platforms: int, jobs: int, repeats: int) -> dict[str, Any]:
    """Make the quotes, judge them with one process and with `jobs` in turn, and show what it took."""
    with tempfile.TemporaryDirectory(prefix="kloister-bench-") as directory:
        folder = Path(directory)
        forge = Forge()
        (folder / "root.der").write_bytes(forge.pki.root_der())
        (folder / "collateral.json").write_text(json.dumps(forge.documents()))
        with (folder / "quotes.ndjson").open("wb") as file:
            for quote in quotes(forge, number, platforms):
                file.write(b'{"quote":"' + base64.b64encode(quote) + b'"}\n')
        runs = [_run(folder, number, count) for _ in range(repeats) for count in (1, jobs)]
    result = _figures(runs, jobs)
    _show(runs, result, number, platforms)
    return {"quotes": number, "platforms": platforms, "runs": [run.as_json() for run in runs], **result}


def quotes(forge: Forge, number: int, platforms: int) -> Iterator[bytes]:
    """Quotes of platforms in turn, each platform with a PCK, an attestation key and a QE report of its own."""
    made = [_platform(forge, index) for index in range(min(platforms, number))]
    for index in range(number):
        one = made[index % len(made)]
        signed = one.quote[:_REPORT_DATA] + index.to_bytes(64, "big")  # the last field of an SGX report
        yield signed + one.quote[_SIZE] + sign_raw(one.key, signed) + one.quote[_SIZE.stop + 64 :]


def _platform(forge: Forge, index: int) -> Platform:
    seed = index.to_bytes(4, "big") + SEED
    pki = forge.pki
    extension = replace(pki.extension, ppid=seed[:16], platform_instance_id=seed[:16])
    serial, name = derive_serial(seed, "pck"), pki.pck.certificate.common_name
    pck = issue(pki.ca, derive_key(seed, "pck"), Wanted(common_name=name, serial=serial, sgx=extension))
    key = derive_key(seed, "attestation")
    own: SimulatedPki = replace(pki, pck=pck, extension=extension)
    return Platform(replace(forge, pki=own, attestation_key=key).quote(), key)


def _run(folder: Path, number: int, jobs: int) -> Run:
    arguments = [
        command(), "verify", "--batch", str(folder / "quotes.ndjson"), "--collateral", str(folder / "collateral.json"),
        "--root", str(folder / "root.der"), "--at", NOW.isoformat(), "--jobs", str(jobs), "--json",
    ]  # fmt: skip
    watched = Watched()
    with (folder / "verdicts.ndjson").open("wb") as verdicts, (folder / "summary").open("w+b") as summary:
        began = time.monotonic()
        process = subprocess.Popen(arguments, stdout=verdicts, stderr=summary)
        used = _watched_to_its_end(process, watched)
        wall = time.monotonic() - began
        summary.seek(0)
        said = summary.read().decode()
    if f"{number} judged: {number} accepted" not in said:
        raise SystemExit(f"not every quote was accepted:\n{said}")
    largest = used.ru_maxrss * 1024  # of one process: a look may miss the peak of all
    return Run(jobs, wall, used.ru_utime + used.ru_stime, max(watched.resident, largest), watched.proportional)


def _watched_to_its_end(process: subprocess.Popen[bytes], watched: Watched) -> resource.struct_rusage:
    """What it and the processes below it have used, which the kernel counts; their memory is looked at."""
    while True:
        watched.look(process.pid)
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return used
        time.sleep(_POLL)


def _figures(runs: Sequence[Run], jobs: int) -> dict[str, Any]:
    """Speed-ups of pairs that ran one after the other: by the clock, and by CPU time as on cores of one's own."""
    pairs = list(zip(runs[::2], runs[1::2], strict=True))
    return {
        "timesOneCoreByClock": [round(one.wall / many.wall, 3) for one, many in pairs],
        "timesOneCoreByCpu": [round(jobs * one.cpu / many.cpu, 3) for one, many in pairs],
        "peakResidentMB": max(run.as_json()["residentMB"] for run in runs),
        "aims": {"timesOneCore": AIM_TIMES, "memoryMB": AIM_MEMORY},
    }


def _show(runs: Sequence[Run], figures: dict[str, Any], number: int, platforms: int) -> None:
    header = ["processes", "seconds", "CPU seconds", "us of CPU per quote", "MB resident", "MB, shared pages once"]
    rows = [
        [
            str(run.jobs), f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.cpu / number * 1e6:.0f}",
            f"{run.resident / 1e6:.0f}", f"{run.proportional / 1e6:.0f}",
        ]
        for run in runs
    ]  # fmt: skip
    table(f"batch of {number} quotes of {platforms} platforms", header, rows)
    clock, cpu = figures["timesOneCoreByClock"], figures["timesOneCoreByCpu"]
    print(f"times one core (aim {AIM_TIMES}): {clock} by the clock, {cpu} by CPU time")
    print(f"memory of all processes: at most {figures['peakResidentMB']} MB (aim {AIM_MEMORY})\n", flush=True)
