"""The attestation service that `kloister up` starts: a simulated platform's quote becomes a token."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.tokens import Jws
from kloister.formats.tokens.policy import policy_token
from kloister.formats.wire import b64url
from kloister.serve.processes import Process
from kloister.tee.simulated.client import PlatformClient
from tests.support.attestation import PERMIT, bound, client_data
from tests.support.cli import kloister, processes_of
from tests.support.stacks import placed

pytestmark = pytest.mark.e2e
DATA = b"the application's key"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("KLOISTER_STATE", str(tmp_path / "state"))
    yield placed(tmp_path / "state")
    assert kloister("down").code == 0
    assert processes_of(tmp_path / "state") == []


def ask(state: Path, url: str, method: str, path: str, body: str = "") -> tuple[int, Any]:
    context = ssl.create_default_context(cafile=state / "attestation" / "ca.pem")
    connection = HTTPSConnection(url.removeprefix("https://"), context=context, timeout=30)
    bearer = (state / "attestation" / "bearer").read_text()
    connection.request(method, f"{path}?api-version=2022-08-01", body, {"Authorization": f"Bearer {bearer}"})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def attest(state: Path, url: str) -> dict[str, Any]:
    """The claims of a token for an enclave of the platform beside it."""
    quote = PlatformClient(state / "platform" / "control.sock").quote_content(b"content", bound(DATA))
    body = json.dumps({"quote": b64url(quote), "runtimeData": client_data(DATA)})
    status, answer = ask(state, url, "POST", "/attest/SgxEnclave", body)
    assert status == 200, answer
    claims: dict[str, Any] = Jws.parse(answer["token"]).claims
    return claims


def test_up_down_and_up_again(state: Path) -> None:
    assert kloister("up").code == 0
    shown = kloister("status", "--json").json["attestation"]
    url = shown["url"]
    claims = attest(state, url)
    assert (claims["iss"], claims["kloister-simulated"], claims["kloister-tcb-status"]) == (url, True, "UpToDate")
    assert ask(state, url, "PUT", "/policies/SgxEnclave", policy_token(PERMIT))[0] == 200

    process = Process.of(shown["pid"])
    assert process is not None
    process.stop()
    assert kloister("status", "--json").json["attestation"] == {"running": False}
    assert kloister("up", "--json").json["started"] is True  # what runs not, and only that

    assert kloister("down").code == 0
    assert processes_of(state) == []
    assert kloister("up").code == 0
    assert kloister("status", "--json").json["attestation"]["url"] == url
    assert "sgx-mrenclave" not in attest(state, url)  # the policy that was set
