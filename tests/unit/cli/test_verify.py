from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kloister.cli.verify import verify
from kloister.formats.dcap import TcbStatus
from kloister.simulator.documents import TcbStage
from tests.support.evidence import NOW, Forge

FORGE = Forge()
app = typer.Typer(pretty_exceptions_enable=False)
app.command("verify")(verify)


class Bench:
    """A folder with a quote, its collateral and its root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("quote.bin", FORGE.quote())
        self.write("root.der", FORGE.pki.root_der())
        self.stage(None)

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def stage(self, stage: TcbStage | None) -> None:
        self.write("collateral.json", json.dumps(FORGE.documents(stage)).encode())

    def run(self, *options: str, thing: str = "quote.bin", root: str = "root.der", stdin: bytes = b"") -> Any:
        arguments = [str(self.folder / thing) if thing != "-" else thing, *options]
        arguments += ["--collateral", str(self.folder / "collateral.json")] if "--collateral" not in options else []
        arguments += ["--root", str(self.folder / root)] if root else []
        arguments += ["--at", str(int(NOW.timestamp()))] if "--at" not in options else []
        return CliRunner().invoke(app, arguments, input=stdin)


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_accepted_evidence_exits_0(bench: Bench) -> None:
    result = bench.run()
    assert result.exit_code == 0
    assert "verdict      accept" in result.stdout
    assert "11" * 32 in result.stdout
    assert "SIMULATED" in result.stderr


def test_json_is_one_object_and_nothing_else(bench: Bench) -> None:
    result = bench.run("--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["verdict"] == "accept"


def test_text_and_standard_input_do_too(bench: Bench) -> None:
    bench.write("quote.hex", FORGE.quote().hex().encode())
    assert bench.run("--offline", thing="quote.hex").exit_code == 0
    assert bench.run(thing="-", stdin=FORGE.quote()).exit_code == 0


def test_intels_root_is_the_default(bench: Bench) -> None:
    result = bench.run("--json", root="")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["reason"]["code"] == "root-untrusted"


def test_an_old_platform_is_genuine_but_rejected(bench: Bench) -> None:
    bench.stage(TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00001",)))
    result = bench.run()
    assert result.exit_code == 1
    assert "genuine      yes" in result.stdout
    assert "[tcb-not-accepted]" in result.stdout
    assert bench.run("--proof-only").exit_code == 0
    policy = bench.write("policy.json", b'{"simulated": "allow", "tcb": {"accept": ["OutOfDate"]}}')
    assert bench.run("--policy", policy).exit_code == 0


def test_a_revoked_platform_is_not_genuine(bench: Bench) -> None:
    bench.stage(TcbStage(status=TcbStatus.REVOKED))
    result = bench.run("--proof-only", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["tcb_status"] == "Revoked"


def test_a_policy_that_does_not_allow_simulation_rejects_it(bench: Bench) -> None:
    result = bench.run("--json", "--policy", bench.write("policy.json", b"{}"))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["reason"]["code"] == "simulated-not-allowed"


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("quote.bin", b"", "evidence-empty"),
        ("quote.bin", FORGE.quote()[:1000], "quote-truncated"),
        ("quote.bin", b"\6" + FORGE.quote()[1:], "quote-version"),
    ],
)
def test_damaged_evidence_is_an_appraisal(bench: Bench, name: str, data: bytes, code: str) -> None:
    bench.write(name, data)
    result = bench.run("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["reason"]["code"] == code
    assert f"[{code}]" in bench.run().stdout


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("quote.bin", bytes((1 << 20) + 1), "evidence-size"),
        ("collateral.json", b"", "collateral-json"),
        ("collateral.json", b"{}", "collateral-field"),
        ("root.der", b"no", "certificate-syntax"),
        ("root.der", bytes(70_000), "root-size"),
    ],
)
def test_unfit_files_are_a_clear_error(bench: Bench, name: str, data: bytes, code: str) -> None:
    bench.write(name, data)
    result = bench.run("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == code
    plain = bench.run()
    assert f"[{code}]" in plain.stderr
    assert not plain.stdout
    assert "Traceback" not in plain.output


@pytest.mark.parametrize(("thing", "code"), [("nonesuch", "os-enoent"), ("", "os-eisdir")])
def test_missing_files_and_directories_are_a_clear_error(bench: Bench, thing: str, code: str) -> None:
    result = bench.run("--json", thing=thing)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == code


def test_without_collateral_nothing_is_judged(bench: Bench) -> None:
    nothing = ["--offline", "--cache", str(bench.folder / "none")]
    result = CliRunner().invoke(app, [str(bench.folder / "quote.bin"), "--json", *nothing])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "collateral-not-held"


@pytest.mark.parametrize("options", [["--at", "soon"], ["--unknown"], ["--proof-only", "--policy", "policy.json"]])
def test_misuse_exits_2(bench: Bench, options: list[str]) -> None:
    assert bench.run(*options).exit_code == 2
    assert CliRunner().invoke(app, []).exit_code == 2


def test_iso_times_are_read(bench: Bench) -> None:
    assert bench.run("--at", "2026-06-15T12:00:00Z").exit_code == 0
    late = bench.run("--json", "--at", "2026-08-15")
    assert json.loads(late.stdout)["reason"]["code"] == "root-crl-expired"


def test_help_has_examples() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "kloister verify quote.bin --collateral collateral.json" in result.stdout
