"""Azure's JavaScript SDK (npm @azure/attestation 1.0.0) against our server; `cases.mjs` says what is asked."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from pathlib import Path

from kloister.formats.wire import b64url, unb64url
from tests.conformance.attestation.azure.fetching import HERE, node_modules, sdist_tests
from tests.conformance.attestation.azure.service import AAD, ISOLATED, SHARED, Service
from tests.support.attestation import BEARER, Signer

CASES = 3 * (1 + 2 + 2 + 1) + 3 * 3 + 3  # of each instance; policies; the others


def test_all_cases_pass(service: Service, tmp_path: Path) -> None:
    report, runtime = _evidence(sdist_tests())
    script = tmp_path / "cases.mjs"
    shutil.copy(HERE / script.name, script)  # a module is resolved from where its importer is
    (tmp_path / "node_modules").symlink_to(node_modules() / "node_modules")
    given = {
        "port": service.port, "bearer": BEARER, "owner": _pem(service.owner), "other": _pem(service.other),
        "shared": SHARED, "aad": AAD, "isolated": ISOLATED, "report": b64url(report), "runtime": b64url(runtime),
    }  # fmt: skip
    done = subprocess.run(
        ["node", script.name], cwd=tmp_path, input=json.dumps(given), capture_output=True, text=True, timeout=280,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(service.ca), "NODE_OPTIONS": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert len(done.stdout.splitlines()) == CASES, done.stdout


def _pem(signer: Signer) -> dict[str, str]:
    return {"key": signer.key_pem, "certificate": signer.pem}


def _evidence(tests: Path) -> tuple[bytes, bytes]:
    """The report and the runtime data that both SDKs' tests have, read as literals from those in Python."""
    found = {}
    for node in ast.parse((tests / "test_attestation.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = unb64url(_joined(node.value), "evidence")
    return found["_open_enclave_report"], found["_runtime_data"]


def _joined(node: ast.expr) -> str:
    """The text of a sum of literals."""
    if isinstance(node, ast.BinOp):
        return _joined(node.left) + _joined(node.right)
    return str(ast.literal_eval(node))
