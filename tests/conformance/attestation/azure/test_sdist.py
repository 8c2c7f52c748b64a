"""The Python SDK's own tests, unchanged, against our server: all that are synchronous."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.conformance.attestation.azure.fetching import HERE, sdist_tests
from tests.conformance.attestation.azure.service import Service

FILES = {"test_attestation.py": 9, "test_policy_getset.py": 9, "test_attestation_token.py": 9}  # cases of each


def test_all_cases_pass(service: Service, tmp_path: Path) -> None:
    tests, report = sdist_tests(), tmp_path / "report.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={tests}",
        "-o", "markers=live_test_only", f"--junit-xml={report}", *(str(tests / name) for name in FILES),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "KLOISTER_AZURE": json.dumps(service.given),
        "PYTHONPATH": str(HERE / "adapter"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_ADDOPTS": "",
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    cases = ET.parse(report).getroot().findall(".//testcase")  # noqa: S314 -- written by pytest just now
    passed = [each.get("classname", "").split(".")[0] for each in cases if not len(each)]
    assert {name: passed.count(name.removesuffix(".py")) for name in FILES} == FILES, done.stdout
