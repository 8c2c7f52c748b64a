"""The broker's verbs over mutual TLS: the real command line against the real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.serve.state import State
from tests.support.broker import answers
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A broker with administration over TLS; the settings of its administrator."""
    state, port = State.at(tmp_path_factory.mktemp("remote")), free_port()
    command = [sys.executable, "-m", "kloister", "serve", "broker", "--state", str(state.root)]
    command += ["--listen", "127.0.0.1:0", "--admin-listen", f"127.0.0.1:{port}", "--admin-name", "broker.example"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not answers(state):
            assert process.poll() is None
            time.sleep(0.05)
        yield {
            "KLOISTER_ADMIN": f"127.0.0.1:{port}",
            "KLOISTER_ADMIN_NAME": "broker.example",
            "KLOISTER_ADMIN_CA": str(state.ca),
            "KLOISTER_ADMIN_CERTIFICATE": str(state.broker / "admin-client.pem"),
            "KLOISTER_ADMIN_KEY": str(state.broker / "admin-client.key"),
        }
    finally:
        process.terminate()
        process.wait(60)


def _policies(settings: dict[str, str], elsewhere: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kloister", "policy", "list", "--json", "--state", str(elsewhere)]
    environment = {**os.environ, **settings}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)


def test_an_administrator_elsewhere_reaches_the_broker(remote: dict[str, str], tmp_path: Path) -> None:
    done = _policies(remote, tmp_path)
    assert json.loads(done.stdout) == {"policies": []}, done.stderr


def test_settings_that_lack_something_are_named(remote: dict[str, str], tmp_path: Path) -> None:
    done = _policies(remote | {"KLOISTER_ADMIN_CA": ""}, tmp_path)
    assert json.loads(done.stdout)["error"]["code"] == "admin-settings"
    assert "KLOISTER_ADMIN_CA" in done.stdout


def test_a_key_that_others_may_read_is_refused(remote: dict[str, str], tmp_path: Path) -> None:
    loose = tmp_path / "loose.key"
    loose.write_bytes(Path(remote["KLOISTER_ADMIN_KEY"]).read_bytes())
    loose.chmod(0o644)
    done = _policies(remote | {"KLOISTER_ADMIN_KEY": str(loose)}, tmp_path)
    assert json.loads(done.stdout)["error"]["code"] == "admin-key-mode"
    loose.chmod(0o600)
    assert _policies(remote | {"KLOISTER_ADMIN_KEY": str(loose)}, tmp_path).returncode == 0


def test_another_certificate_is_refused(remote: dict[str, str], tmp_path: Path) -> None:
    directory = Path(remote["KLOISTER_ADMIN_KEY"]).parent
    other = {"KLOISTER_ADMIN_CERTIFICATE": str(directory / "tls.pem"), "KLOISTER_ADMIN_KEY": str(directory / "tls.key")}
    assert json.loads(_policies(remote | other, tmp_path).stdout)["error"]["code"] == "broker-unreachable"
