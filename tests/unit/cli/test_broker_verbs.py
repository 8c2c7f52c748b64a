"""policy, secret, audit and explain against a broker process."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kloister.cli.main import run
from kloister.client.tls import Connection
from kloister.formats.protocol.release import RELEASE_PATH, ReleaseRequest
from kloister.serve.state import State
from tests.support.broker import answers, document
from tests.support.ports import free_port

POLICY = "clinic/inference"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def serving() -> Iterator[State]:
    state = State.at(Path(tempfile.mkdtemp(prefix="kloister-verbs-")))
    log = state.logs / "broker.log"
    program = (
        "import sys;from pathlib import Path;from kloister.serve.broker import run;run(Path(sys.argv[1]),sys.argv[2])"
    )
    address = f"127.0.0.1:{free_port()}"
    (state.root / "address").write_text(address)
    with log.open("wb") as output:
        command = [sys.executable, "-c", program, str(state.root), address]
        process = subprocess.Popen(command, stderr=output)
    try:
        while not answers(state):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        yield state
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(state.root)


@pytest.fixture
def kloister(serving: State, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    def command(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setenv("KLOISTER_STATE", str(serving.root))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as leaving:
            run(list(arguments))
        out, err = capsys.readouterr()
        code = leaving.value.code
        return code if isinstance(code, int) else 0, out, err

    return command


@pytest.fixture
def applied(kloister: Command, tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps(document()))
    assert kloister("policy", "apply", str(path))[0] == 0
    return path


def test_apply_list_show(kloister: Command, applied: Path) -> None:
    status, out, err = kloister("policy", "apply", str(applied))
    assert (status, "(unchanged)" in out) == (0, True)
    assert "kloister secret set clinic/inference licence --file FILE" in err or "licence" not in err
    assert POLICY in kloister("policy", "list")[1]
    shown = kloister("policy", "show", POLICY)[1]
    assert json.loads(shown) == document()
    again = kloister("policy", "apply", "-", stdin=shown.encode())
    assert (again[0], "(unchanged)" in again[1]) == (0, True)
    assert json.loads(kloister("policy", "list", "-o", "json")[1])["policies"][0]["name"] == "inference"
    assert json.loads(kloister("policy", "show", POLICY, "--json")[1])["document"] == document()
    assert json.loads(kloister("policy", "apply", str(applied), "--json")[1])["changed"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: yes", "line 1, column 4: yes means different things"),
        (b"a: 1\na: 2", "line 2, column 1"),
        (b"{}", "apiVersion is missing"),
        (b"\xff", "not UTF-8"),
        (b"", "is empty"),
        (b" " * 300_000, "has more than"),
    ],
)
def test_a_wrong_document_is_refused_with_its_place(kloister: Command, tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text)
    for verb in ("lint", "apply"):
        status, out, err = kloister("policy", verb, str(path))
        assert (status, out) == (1, "")
        assert said in err


def test_lint_names_risks_and_needs_no_broker(kloister: Command, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    value = document("attestation.any.0.sgx.debug", True)
    value["attestation"]["tcb"] = {"accept": ["OutOfDate"]}
    value["secrets"].append({"name": "spare", "kind": "random"})
    path.write_text(json.dumps(value))
    status, out, err = kloister("policy", "lint", str(path))
    assert (status, "is valid" in out) == (0, True)
    for risk in ("sgx.debug", "simulated", "tcb.accept: OutOfDate", "spare is not used"):
        assert risk in err
    path.write_text(json.dumps(document("attestation.any", [])))
    assert any("nobody" in one for one in json.loads(kloister("policy", "lint", str(path), "--json")[1])["warnings"])
    status, _, err = kloister("policy", "lint", str(tmp_path / "none"))
    assert (status, "os-enoent" in err) == (1, True)


def test_secrets(kloister: Command, applied: Path, tmp_path: Path) -> None:
    assert applied.exists()
    status, out, _ = kloister("secret", "set", POLICY, "licence", stdin=b"SECRET-VALUE")
    assert (status, "SECRET-VALUE" in out) == (0, False)
    value = tmp_path / "value"
    value.write_bytes(b"\x00\xff")
    assert json.loads(kloister("secret", "set", POLICY, "licence", "--file", str(value), "--json")[1])["version"] > 1
    listed = kloister("secret", "list", POLICY)[1]
    assert "licence  value  uploaded" in listed
    assert "SECRET" not in listed
    certificate = kloister("secret", "show", POLICY, "ca", "--public")[1]
    assert certificate.startswith("-----BEGIN CERTIFICATE-----")
    assert json.loads(kloister("secret", "show", POLICY, "ca", "--public", "--json")[1])["public"] == certificate
    assert json.loads(kloister("secret", "list", POLICY, "--json")[1])["secrets"][0]["name"] == "db"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("secret", "show", POLICY, "db"), "secret-private"),
        (("secret", "show", POLICY, "db", "--public"), "secret-not-public"),
        (("secret", "set", POLICY, "db"), "secret-generated"),
        (("secret", "set", "clinic", "db"), "policy-name"),
        (("secret", "list", "clinic/none"), "policy-unknown"),
        (("secret", "list", "clinic/../x"), "policy-name"),
        (("policy", "show", "clinic/ä\n"), "policy-unknown"),
        (("explain", "nonsense"), "refusal-unknown"),
        (("audit", "verify", "--expect", "x"), "audit-expect"),
        (("audit", "verify", "--expect", "1:00"), "audit-rolled-back"),
    ],
)
def test_refusals_have_codes(kloister: Command, applied: Path, arguments: tuple[str, ...], code: str) -> None:
    assert applied.exists()
    status, out, _ = kloister(*arguments, "--json")
    assert (status, json.loads(out)["error"]["code"]) == (1, code)


def test_a_value_on_the_command_line_is_misuse(kloister: Command) -> None:
    assert kloister("secret", "set", POLICY, "licence", "value")[0] == 2


def refusal(state: State) -> str:
    zero = ReleaseRequest(bytes(32), "clinic", "inference", "app", "i", bytes(32), b"quote").build()
    connection = Connection((state.root / "address").read_text(), state.ca.read_text(), 60)
    status, answer = connection.post(RELEASE_PATH, zero, 10000)
    connection.close()
    error: dict[str, Any] = json.loads(answer)["error"]
    assert (status, error["code"]) == (403, "nonce-unknown")
    return str(error["id"])


def test_explain_and_audit(kloister: Command, serving: State, applied: Path) -> None:
    assert applied.exists()
    identifier = refusal(serving)
    status, out, _ = kloister("explain", identifier)
    assert status == 0
    assert "nonce-unknown" in out
    assert "clinic/inference, service app" in out
    assert json.loads(kloister("explain", identifier, "--json")[1])["id"] == identifier
    status, out, _ = kloister("explain", "debug-not-allowed")
    assert (status, "debug: true" in out) == (0, True)
    assert json.loads(kloister("explain", "file-changed", "--json")[1])["code"] == "file-changed"
    assert f"refusal={identifier}" in kloister("audit", "show")[1]
    entries = json.loads(kloister("audit", "show", "--after", "1", "--json")[1])["entries"]
    assert entries[0]["sequence"] == 2
    status, out, _ = kloister("audit", "verify")
    assert status == 0
    head = json.loads(kloister("audit", "verify", "--json")[1])["head"]
    assert kloister("audit", "verify", "--expect", head)[0] == 0
    assert kloister("explain", "refused")[0] == 1


def test_a_changed_log_is_found(kloister: Command, serving: State, applied: Path) -> None:
    assert applied.exists()
    assert kloister("audit", "verify")[0] == 0
    with contextlib.closing(sqlite3.connect(serving.broker / "broker.db", isolation_level=None)) as database:
        before = database.execute("SELECT body FROM audit WHERE sequence = 1").fetchone()[0]
        database.execute("UPDATE audit SET body = ? WHERE sequence = 1", (before.replace(b"clinic", b"cxinic"),))
        assert "[audit-broken]" in kloister("audit", "verify")[2]
        database.execute("UPDATE audit SET body = ? WHERE sequence = 1", (b"{",))
        assert "[audit-broken]" in kloister("audit", "show")[2]
        database.execute("UPDATE audit SET body = ? WHERE sequence = 1", (before,))
    assert kloister("audit", "verify")[0] == 0


def test_without_a_broker_the_remedy_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLOISTER_STATE", str(tmp_path))
    with pytest.raises(SystemExit) as leaving:
        run(["policy", "list"])
    assert leaving.value.code == 1
    assert "kloister up" in capsys.readouterr().err
