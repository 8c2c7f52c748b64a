"""`kloister verify` with SNP reports: what is typed, what is printed, and the exit status."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kloister.cli.verify import verify
from kloister.formats.snp import GuestPolicy
from tests.support.paths import vectors
from tests.support.snp import NOW, SnpForge, report, snp_case

FORGE = SnpForge()
CHIP = bytes(range(1, 65))
app = typer.Typer(pretty_exceptions_enable=False)
app.command("verify")(verify)


class Bench:
    """A folder with a report, its endorsement and its root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("report.bin", FORGE.signed())
        self.write("vek.der", FORGE.vek_der())
        self.write("chain.pem", FORGE.chain())
        self.write("root.der", FORGE.ark_der())

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def run(self, *options: str, parts: tuple[str, ...] = ("vek.der", "chain.pem"), stdin: bytes = b"") -> Any:
        thing = "-" if stdin else str(self.folder / "report.bin")
        named = [
            text for flag, part in zip(("--vek", "--chain"), parts, strict=False) for text in (flag, self.at(part))
        ]
        arguments = [thing, *named, "--root", self.at("root.der"), "--at", str(int(NOW.timestamp())), *options]
        return CliRunner().invoke(app, arguments, input=stdin)

    def at(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_there_are_no_levels_to_explain(bench: Bench) -> None:
    said = "AMD publishes no TCB levels."
    assert said in bench.run("--explain").stdout
    assert said not in bench.run().stdout
    assert json.loads(bench.run("--explain", "--json").stdout)["explain"] is None
    bench.write("vek.der", b"no certificate")
    assert said not in bench.run("--explain").stdout


def test_a_person_reads_what_matters(bench: Bench) -> None:
    result = bench.run()
    assert result.exit_code == 0
    for line in (
        "verdict      accept",
        "tee          snp",
        f"measurement  {'33' * 48}",
        "product      Milan, key vcek",
        "tcb          bootloader 4, tee 1, snp 24, microcode 219",
        "vmpl         0",
        f"chip id      sha256:{hashlib.sha256(CHIP).hexdigest()}",
    ):
        assert line in result.stdout
    assert CHIP.hex() not in result.stdout
    assert not result.stderr


def test_json_is_one_object(bench: Bench) -> None:
    document = json.loads(bench.run("--json").stdout)
    assert (document["tee"], document["verdict"], document["tcb_status"]) == ("snp", "accept", None)
    assert document["claims"]["reported_tcb_microcode"] == 219
    assert CHIP.hex() not in json.dumps(document)
    shown = json.loads(bench.run("--json", "--show-identifiers").stdout)
    assert shown["identifiers"] == {"chip_id": CHIP.hex()}


def test_standard_input_and_text_are_read(bench: Bench) -> None:
    result = bench.run("--json", stdin=FORGE.signed().hex().encode())
    assert json.loads(result.stdout)["kind"] == "snp-report"


def test_a_refusal_exits_1_with_its_reason(bench: Bench) -> None:
    bench.write("report.bin", replace(FORGE, signing=2).signed())
    result = bench.run("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["reason"]["code"] == "snp-report-signature"


def test_debug_is_refused_unless_only_proof_is_wanted(bench: Bench) -> None:
    bench.write("report.bin", replace(FORGE, report=report(policy=GuestPolicy(0xB0000))).signed())
    assert bench.run().exit_code == 1
    assert bench.run("--proof-only").exit_code == 0


def test_a_policy_judges_the_levels(bench: Bench) -> None:
    policy = bench.write("policy.json", b'{"snp": {"minimumTcb": {"snp": 25, "microcode": 220}, "vmpl": 1}}')
    result = bench.run("--policy", policy)
    assert result.exit_code == 1
    for path in ("snp.minimumTcb.snp", "snp.minimumTcb.microcode", "snp.vmpl"):
        assert path in result.stdout


def test_a_revocation_list_is_judged(bench: Bench) -> None:
    assert bench.run("--crl", bench.write("good.crl", FORGE.crl())).exit_code == 0
    result = bench.run("--crl", bench.write("bad.crl", FORGE.crl(2)), "--json")
    assert json.loads(result.stdout)["reason"]["code"] == "ask-revoked"


def test_other_times_are_asked(bench: Bench) -> None:
    result = bench.run("--what-if-at", "2030-01-01", "--json")
    rows = json.loads(result.stdout)["what_if"]
    assert [(row["genuine"], row["reason"]) for row in rows] == [(True, None), (False, "vek-expired")]


def test_what_is_missing_is_said(bench: Bench) -> None:
    result = bench.run("--offline", "--cache", bench.at("none"), parts=())
    assert result.exit_code == 1
    assert "collateral-not-held" in result.stderr
    alone = bench.run("--offline", "--cache", bench.at("none"), parts=("vek.der",))
    assert "collateral-not-held" in alone.stderr
    assert bench.run("--crl", bench.write("good.crl", FORGE.crl()), parts=("vek.der",)).exit_code == 2
    assert bench.run("--what-if-update", "early").exit_code == 2
    large = bench.write("large", bytes(1024 * 1024 + 1))
    assert "file-size" in bench.run(parts=(large, "chain.pem")).stderr


def test_a_bundle_holds_what_vouches_for_the_chip(bench: Bench) -> None:
    crl = bench.write("good.crl", FORGE.crl())
    assert bench.run("--crl", crl, "--bundle-out", bench.at("bundle")).exit_code == 0
    alone = [bench.at("bundle"), "--root", bench.at("root.der"), "--offline", "--json"]
    result = CliRunner().invoke(app, alone)
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (0, "accept")
    assert CHIP.hex() not in result.stdout + result.stderr
    assert CliRunner().invoke(app, alone[:1]).exit_code == 1  # under AMD's roots
    document = json.loads((bench.folder / "bundle").read_text())
    assert set(document["collateral"]) == {"vek", "chain", "crl"}
    revoked = bench.write("bad.crl", FORGE.crl(2))
    bundle = [*alone[:3], "--vek", bench.at("vek.der"), "--chain", bench.at("chain.pem"), "--crl", revoked, "--json"]
    assert json.loads(CliRunner().invoke(app, bundle).stdout)["reason"]["code"] == "ask-revoked"  # options are stronger


def test_amds_roots_are_the_default() -> None:
    case = snp_case("v3-SEV-VLEK-Milan-decdab94")
    folder = vectors("evidence", "snp", case.name)
    arguments = [str(folder / "report.bin"), "--vek", str(folder / "vek.der"), "--chain", str(folder / "ask_ark.pem")]
    result = CliRunner().invoke(app, [*arguments, "--at", "2025-06-01", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["claims"]["csp_id"] == "CN=cc-us-east-2.amazonaws.com"
