"""The verifier is a library for others: importing it is quick, and loads no more than it needs."""

from __future__ import annotations

import json
import subprocess
import sys

_PROBE = """
import json, sys, time
before, began = set(sys.modules), time.process_time()
import cryptography.hazmat.primitives.asymmetric.ec, cryptography.x509
needed = time.process_time()
import kloister.trust.verifier
spent, needed = time.process_time() - began, needed - began
print(json.dumps([sorted({name.partition(".")[0] for name in set(sys.modules) - before}), sorted(
    name for name in sys.modules if name.startswith("kloister.")), spent, needed]))
"""
_BINDINGS = ("_cffi", "_openssl")  # of cryptography's own
_LIMIT = 0.15  # seconds of CPU time on a machine that does nothing else
_USUAL = 0.045  # of which cryptography takes this


def _import() -> tuple[set[str], list[str], float, float]:
    command = [sys.executable, "-I", "-c", _PROBE]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    tops, ours, spent, needed = json.loads(run.stdout)
    return set(tops), ours, spent, needed


def test_only_cryptography_is_loaded_beside_the_standard_library() -> None:
    tops, ours, *_ = _import()
    foreign = {name for name in tops if name not in sys.stdlib_module_names and not name.startswith(_BINDINGS)}
    assert foreign <= {"kloister", "cryptography"}
    assert {name.split(".")[1] for name in ours} <= {"errors", "formats", "trust"}
    assert not [
        name
        for name in ours
        if name.startswith(("kloister.trust.policy", "kloister.formats.enclave", "kloister.formats.snp"))
    ]


def test_it_is_imported_quickly() -> None:
    seen = []
    for _ in range(20):  # the first may have to compile, and others may be disturbed
        _, _, spent, needed = _import()
        seen.append((spent, needed))
        if spent < _LIMIT * max(1, needed / _USUAL):  # a busy machine slows both
            return
    raise AssertionError(seen)


def test_what_is_of_amd_is_there_when_asked_for() -> None:
    from kloister.trust import verifier

    assert all(getattr(verifier, name) is not None for name in verifier.__all__)
    assert not hasattr(verifier, "verify_cca")
