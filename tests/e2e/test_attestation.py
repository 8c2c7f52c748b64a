"""`kloister serve attestation` as a process: start, TLS, workers, logs, stopping."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kloister.formats.tokens import Jws
from kloister.formats.tokens.policy import policy_token
from kloister.formats.wire import b64url
from tests.support.attestation import BEARER, PERMIT, sgx_quote
from tests.support.attestation_process import Service, serving

pytestmark = pytest.mark.e2e
VERSION = "api-version=2022-08-01"


def _counted(service: Service) -> float:
    """Answers with status 200, by the metrics."""
    text = service.ask("GET", "/metrics", raw=True)[1]
    (line,) = [
        line for line in text.splitlines() if line.startswith('kloister_attestation_requests_total{status="200"}')
    ]
    return float(line.split()[1])


def _has_children(service: Service, count: int) -> None:
    """Wait until it has so many: one may be ready before the next is there."""
    pid, deadline = service.process.pid, time.monotonic() + 60
    while len(children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) != count:
        assert time.monotonic() < deadline, children
        time.sleep(0.02)


def _all_workers_count(service: Service, least: float) -> bool:
    """Whether, before long, whichever worker is asked has counted so many answers of all of them."""
    deadline = time.monotonic() + 60
    while not all(_counted(service) >= least for _ in range(6)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_service_from_its_file_to_its_end(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        status, answer = service.ask(
            "POST", f"/attest/SgxEnclave?{VERSION}", json.dumps({"quote": b64url(sgx_quote())})
        )
        assert status == 200
        assert Jws.parse(answer["token"]).claims["kloister-dangerous-judged-at"] == "2026-06-15T12:00:00Z"

        old = service.tls()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with service.connected(old) as secured:
            assert secured.version() == "TLSv1.2"
        with service.connected(service.tls()) as secured:
            secured.sendall(b"GET /certs HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000)
            assert secured.recv(100).startswith(b"HTTP/1.1 431 ")

        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
        lines = [json.loads(line) for line in service.log.splitlines()]
        assert any("DANGEROUS" in line["message"] and "judged" in line["message"] for line in lines)
        answered = next(line for line in lines if line.get("path") == "/attest/sgxenclave")
        assert (answered["status"], answered["method"], len(answered["request"])) == (200, "POST", 20)
        assert BEARER not in service.log
        assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {
            "root.key": 0o600, "ca.key": 0o600, "tls.key": 0o600,
        }  # fmt: skip


def test_workers_share_everything(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as service:
        _has_children(service, 2)
        assert service.ask("PUT", f"/policies/SgxEnclave?{VERSION}", policy_token(PERMIT))[0] == 200
        stored = set()
        for _ in range(12):
            token = service.ask("GET", f"/policies/SgxEnclave?{VERSION}")[1]["token"]
            stored.add(Jws.parse(token).claims["x-ms-policy"])
        assert stored == {policy_token(PERMIT)}
        assert len({json.dumps(service.ask("GET", "/certs")[1]) for _ in range(12)}) == 1
        assert _all_workers_count(service, 24)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("listen = 1", "attestation-setting"),
        ('[[instances]]\nbase_url = "https://a"\n[tls]\ncertificate = "x"\nkey = "y"', "tls-files"),
        ('[[instances]]\nbase_url = "https://a"\n[collateral]\ndirectory = "missing"', "collateral-directory"),
        ('[[instances]]\nbase_url = "https://a"\n[appraisal]\nextra_roots = ["missing"]', "attestation-setting"),
    ],
)
def test_settings_that_are_wrong_are_said(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    command = [sys.executable, "-m", "kloister", "serve", "attestation", "--config", str(tmp_path / "a.toml")]
    listen = [] if text.startswith("listen") else ["--listen", "127.0.0.1:0"]
    done = subprocess.run([*command, *listen], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 1
    assert f"[{code}]" in done.stderr
    assert "Traceback" not in done.stderr
