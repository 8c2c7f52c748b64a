from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kloister.cli.verify import verify
from kloister.formats.dcap import TcbStatus
from kloister.formats.ratls import Form
from kloister.simulator.documents import TcbStage
from tests.support.evidence import NOW, Forge
from tests.support.ratls import ratls, serving

FORGE = Forge()
OLD = TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00001",), evaluation_number=21)
app = typer.Typer(pretty_exceptions_enable=False)
app.command("verify")(verify)


class Folder:
    """Files to verify with, and the command."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("quote.bin", FORGE.quote())
        self.write("root.der", FORGE.pki.root_der())
        self.collateral("now.json")

    def write(self, name: str, data: bytes) -> str:
        (self.path / name).write_bytes(data)
        return str(self.path / name)

    def collateral(self, name: str, stage: TcbStage | None = None, days: int = 0) -> str:
        documents = FORGE.documents(stage, NOW + timedelta(days=days))
        return self.write(name, json.dumps(documents).encode())

    def run(self, thing: str, *options: str, given: str = "now.json") -> Any:
        fixed = ["--collateral", str(self.path / given), "--root", str(self.path / "root.der")]
        name = thing if thing.startswith("https:") else str(self.path / thing)
        return CliRunner().invoke(app, [name, *fixed, "--at", str(int(NOW.timestamp())), *options])


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_explain_draws_a_tree_of_what_is_short(folder: Folder) -> None:
    folder.collateral("old.json", OLD)
    result = folder.run("quote.bin", "--explain", given="old.json")
    assert result.exit_code == 1
    assert "platform: OutOfDate (level 2 of 3, 2026-01-01, INTEL-SA-00001)" in result.stdout
    assert "next better: UpToDate" in result.stdout
    assert "1 short" in result.stdout
    assert "to do" in result.stdout
    assert "to do" not in folder.run("quote.bin", "--explain").stdout
    assert "platform:" not in folder.run("quote.bin").stdout


def test_explain_is_an_object_in_json(folder: Folder) -> None:
    document = json.loads(folder.run("quote.bin", "--explain", "--json").stdout)
    assert [one["name"] for one in document["explain"]["matched"]] == ["platform", "quoting enclave"]
    assert "explain" not in json.loads(folder.run("quote.bin", "--json").stdout)
    folder.write("none.bin", b"")
    assert json.loads(folder.run("none.bin", "--explain", "--json").stdout)["explain"] is None


def test_what_if_prints_a_row_per_question(folder: Folder) -> None:
    early = folder.collateral("early.json", OLD)
    coming = folder.collateral("coming.json", OLD, days=40)
    options = ["--what-if-collateral", early, "--what-if-collateral", coming, "--what-if-at", "2026-09-01"]
    result = folder.run("quote.bin", *options)
    assert result.exit_code == 0
    assert "Collateral expires 2026-07-15." in result.stdout
    assert (
        result.stdout.count("Will be OutOfDate from 2027-01-01 on, when evaluation 21 is the standard baseline.") == 2
    )
    rows = json.loads(folder.run("quote.bin", "--json", *options).stdout)["what_if"]
    assert [row["tcb_status"] for row in rows] == ["UpToDate", "OutOfDate", "OutOfDate", None, None, None]
    assert rows[0]["collateral"] == "given"
    assert rows[2]["at"] == "2026-07-25T00:00:00Z"


def test_every_condition_that_failed_is_printed(folder: Folder) -> None:
    policy = folder.write("policy.yaml", b"sgx: {isvsvn: 9, isvprodid: 8}\n")
    result = folder.run("quote.bin", "--policy", policy)
    assert result.exit_code == 1
    for path in ("simulated", "sgx.isvsvn", "sgx.isvprodid"):
        assert f"failed       {path}: expected" in result.stdout
    document = json.loads(folder.run("quote.bin", "--policy", policy, "--json").stdout)
    assert [each["path"] for each in document["conditions"]] == ["simulated", "sgx.isvprodid", "sgx.isvsvn"]
    assert document["reason"]["code"] == "simulated-not-allowed"


def test_identifiers_are_printed_only_to_who_asks(folder: Folder) -> None:
    ppid = FORGE.pki.extension.ppid.hex()
    for options in ([], ["--json"], ["--explain"], ["--explain", "--json"]):
        assert ppid not in folder.run("quote.bin", *options).output
        assert ppid in folder.run("quote.bin", "--show-identifiers", *options).output
    document = json.loads(folder.run("quote.bin", "--show-identifiers", "--json").stdout)
    assert document["identifiers"]["ppid"] == ppid


RATLS = ("ra-tls-certificate", "ra-tls-server")


@pytest.mark.parametrize("form", list(Form))
def test_a_server_is_verified_by_its_certificate(folder: Folder, form: Form) -> None:
    der = ratls(FORGE, form)
    folder.write("server.der", der)
    kinds = ("signing-certificate", "attestation-service") if form is Form.OPEN_ENCLAVE else RATLS
    assert f"kind         {kinds[0]}" in folder.run("server.der").stdout
    with serving(der, folder.path) as url:
        result = folder.run(url, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["kind"] == kinds[1]
    gone = folder.run(url, "--json")
    assert gone.exit_code == 1
    assert json.loads(gone.stdout)["error"]["code"] == "server-unreachable"
