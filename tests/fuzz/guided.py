"""The guided engine: atheris (libFuzzer), which sees the branches that an input takes. See requirements/fuzz.in."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

AVAILABLE = find_spec("atheris") is not None
_RSS = 1024  # MiB of the whole process: interpreter, instrumentation and libFuzzer's corpus are most of it


def run(name: str, seconds: int, folder: Path) -> None:
    """Fuzz one target in this process, which ends with it: status 0, or libFuzzer's after a finding.

    It must be called before anything of Kloister is imported: only what is imported here is instrumented.
    """
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["kloister"]):
        target = import_module("tests.fuzz.targets").TARGETS[name]
    mutate = import_module("tests.fuzz.mutation").mutate
    checks = import_module("tests.fuzz.target")
    seeds, tally = target.seeds(), checks.Tally()
    corpus = folder / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        checks.examine(target, data, tally)

    def mutator(data: bytes, size: int, seed: int) -> bytes:
        rng = Random(seed)
        changed: bytes = mutate(rng, data, seeds) if rng.random() < 0.5 else atheris.Mutate(data, size)
        return changed[:size]

    found = folder / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}", f"-max_len={checks.LARGEST}", f"-rss_limit_mb={_RSS}", "-timeout=10",
        f"-artifact_prefix={found}/", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutator)
    atheris.Fuzz()
