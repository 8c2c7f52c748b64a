"""Fetching, packs and bundles on the command line, against a collateral service on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kloister.formats.dcap import TcbStatus
from kloister.simulator.documents import EVALUATION_NUMBER, TcbStage
from kloister.simulator.platform import SimulatedPlatform
from tests.support import pcs
from tests.support.cli import Done, kloister
from tests.support.enclaves import FUSES, KEYID, signer
from tests.support.snp import Issued
from tests.unit.services.collateral.test_kds import MILAN, kds

PLATFORM = SimulatedPlatform(FUSES, KEYID, author=signer())
EARLY = TcbStage(status=TcbStatus.OUT_OF_DATE, evaluation_number=EVALUATION_NUMBER + 1)


class Desk:
    """A folder with a quote, the platform's root, and a source that has its collateral."""

    def __init__(self, folder: Path, server: pcs.Server, ca: Path) -> None:
        self.folder, self.server = folder, server
        self.source = ["--source", f"pccs+{server.url}", "--source-ca", str(ca)]
        self.roots = ["--root", str(folder / "root.der")]
        (folder / "quote.bin").write_bytes(PLATFORM.quote_content(b"content", bytes(64)))
        (folder / "root.der").write_bytes(PLATFORM.root())

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def verify(self, *options: str, thing: str = "quote.bin", cache: str = "cache") -> Done:
        return kloister("verify", self.path(thing), *self.roots, "--cache", self.path(cache), *options)

    def collateral(self, verb: str, *options: str, cache: str = "cache") -> Done:
        return kloister("collateral", verb, *options, *self.roots, "--cache", self.path(cache))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "tls").mkdir()
    ca, context = pcs.certified(tmp_path / "tls")
    with pcs.serving(pcs.pcs_of(PLATFORM, datetime.now(UTC), EARLY).answer, context) as server:
        yield Desk(tmp_path, server, ca)


def code(done: Done) -> str:
    return done.error["code"]


def test_verify_fetches_what_it_needs_and_says_from_where(desk: Desk) -> None:
    done = desk.verify(*desk.source, "--json")
    assert done.code == 0
    assert done.json["verdict"] == "accept"
    assert {item["source"] for item in done.json["collateral"]} == {f"pccs {desk.server.url[8:]}"}
    assert len(desk.server.asked) == 4
    assert desk.verify(*desk.source).code == 0
    assert len(desk.server.asked) == 4


def test_given_collateral_is_used_alone(desk: Desk) -> None:
    document = json.dumps(PLATFORM.collateral(datetime.now(UTC)))
    (desk.folder / "collateral.json").write_text(document)
    done = desk.verify(*desk.source, "--collateral", desk.path("collateral.json"), "--json")
    assert done.code == 0
    assert "collateral" not in done.json
    assert desk.server.asked == []


def test_offline_uses_what_is_held(desk: Desk) -> None:
    assert code(desk.verify("--offline", "--json")) == "collateral-not-held"
    assert desk.verify(*desk.source).code == 0
    assert desk.verify("--offline").code == 0
    assert len(desk.server.asked) == 4


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (None, None, "evidence-empty")),
        (b"nothing of the kind", (None, None, "evidence-unknown")),
        (b"\x07\0" + bytes(2000), ("quote", None, "quote-version")),
        (PLATFORM.quote_content(b"content", bytes(64))[:-1], ("quote", "sgx", "quote-truncated")),
        (b"\x02\0\0\0" + bytes(500), ("snp-report", "snp", "snp-report-truncated")),
        (b"HCLA" + bytes(99), ("azure-hcl", "snp", "hcl-truncated")),
        (b'{"quote": "AwAA"}', ("kbs-evidence", None, "quote-truncated")),
    ],
)
def test_what_cannot_be_read_is_refused_without_asking_anybody(
    desk: Desk, content: bytes, expected: tuple[str | None, ...]
) -> None:
    (desk.folder / "bad").write_bytes(content)
    done = desk.verify(*desk.source, "--json", thing="bad")
    found = done.json
    assert (done.code, found["genuine"], found["verdict"]) == (1, False, "reject")
    assert (found["kind"], found["tee"], found["reason"]["code"]) == expected
    assert desk.server.asked == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "ftp://host", "https://host:port", "HTTPS://"])
def test_only_servers_with_tls_are_asked_for_evidence(address: str) -> None:
    assert code(kloister("verify", address, "--json")) == "server-address"


def test_where_no_source_answers_the_sources_are_named(desk: Desk) -> None:
    dead = ["--source", "pccs+https://127.0.0.1:1", "--source", "thim+https://127.0.0.1:2", "--fetch-timeout", "60"]
    done = desk.verify(*dead, "--json")
    assert (done.code, code(done)) == (1, "collateral-unreachable")
    assert "pccs 127.0.0.1:1" in done.error["text"]
    assert "thim 127.0.0.1:2" in done.error["text"]
    assert desk.verify(*dead, *desk.source).code == 0


def test_a_source_that_says_nothing_holds_nobody_up(desk: Desk) -> None:
    desk.server.always(pcs.silent)
    done = desk.verify(*desk.source, "--fetch-timeout", "0.5", "--json")
    assert code(done) == "collateral-unreachable"
    assert desk.server.url[8:] in done.error["text"]


def test_baselines_and_numbers(desk: Desk) -> None:
    assert desk.verify(*desk.source, "--json").json["tcb_status"] == "UpToDate"
    early = desk.verify(*desk.source, "--update", "early", "--json")
    assert (early.code, early.json["tcb_status"]) == (1, "OutOfDate")
    number = desk.verify(*desk.source, "--evaluation-number", str(EVALUATION_NUMBER + 1), "--json")
    assert number.json["tcb_status"] == "OutOfDate"
    assert code(desk.verify(*desk.source, "--evaluation-number", "1", "--json")) == "collateral-retired"


def test_what_it_would_be_by_other_baselines_is_fetched(desk: Desk) -> None:
    options = ["--what-if-update", "early", "--what-if-evaluation", str(EVALUATION_NUMBER + 1)]
    done = desk.verify(*desk.source, *options, "--what-if-evaluation", "1", "--json")
    assert done.code == 0
    rows = [(row["collateral"], row["tcb_status"], row["reason"]) for row in done.json["what_if"]]
    assert rows == [
        ("given", "UpToDate", None),
        ("early", "OutOfDate", "tcb-not-accepted"),
        (f"evaluation {EVALUATION_NUMBER + 1}", "OutOfDate", "tcb-not-accepted"),
        ("evaluation 1", None, "collateral-retired"),
    ]
    said = desk.verify("--offline", "--what-if-update", "early", "--what-if-update", "standard")
    assert said.code == 0
    assert f"on, when evaluation {EVALUATION_NUMBER + 1} is the standard baseline." in said.out
    assert "collateral-not-held" in desk.verify("--offline", "--what-if-evaluation", "9").out


def _many(desk: Desk, *names: str) -> list[str]:
    (desk.folder / "many").mkdir()
    for name in names:
        (desk.folder / "many" / name).write_bytes((desk.folder / "quote.bin").read_bytes())
    return ["--batch", desk.path("many"), *desk.roots, "--json"]


def test_a_batch_fetches_once_for_all_of_a_platform(desk: Desk) -> None:
    many = _many(desk, *(f"{number}.bin" for number in range(150)))
    done = kloister("verify", *many, *desk.source, "--cache", desk.path("cache"), "--jobs", "1")
    assert (done.code, len(done.out.splitlines())) == (0, 150)
    assert len(desk.server.asked) == 4
    assert kloister("verify", *many, "--offline", "--cache", desk.path("cache"), "--jobs", "1").code == 0
    alone = kloister("verify", *many, "--offline", "--cache", desk.path("none"), "--jobs", "1")
    assert {json.loads(line)["reason"]["code"] for line in alone.out.splitlines()} == {"collateral-not-held"}
    assert len(desk.server.asked) == 4


def test_the_processes_of_a_batch_fetch_once_together(desk: Desk) -> None:
    many = _many(desk, *(f"{number}.bin" for number in range(200)))
    done = kloister("verify", *many, *desk.source, "--cache", desk.path("cache"), "--jobs", "2")
    assert (done.code, len(done.out.splitlines())) == (0, 200)
    assert len(desk.server.asked) == 4


def test_a_source_that_is_dead_is_asked_once_for_a_platform(desk: Desk) -> None:
    many = _many(desk, "a.bin", "b.bin", "c.bin")
    dead = ["--source", "pccs+https://127.0.0.1:1", "--fetch-timeout", "2", "--cache", desk.path("none")]
    done = kloister("verify", *many, *dead, "--jobs", "1")
    assert {json.loads(line)["reason"]["code"] for line in done.out.splitlines()} == {"collateral-unreachable"}


def test_variables_stand_for_options(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLOISTER_COLLATERAL_SOURCES", desk.source[1])
    monkeypatch.setenv("KLOISTER_COLLATERAL_CA", desk.source[3])
    monkeypatch.setenv("KLOISTER_COLLATERAL_CACHE", desk.path("other"))
    assert kloister("verify", desk.path("quote.bin"), *desk.roots).code == 0
    assert len(list((desk.folder / "other").iterdir())) == 4


@pytest.mark.parametrize(
    "options",
    [["--source", "ftp://x"], ["--source", "http://pccs.example"], ["--fetch-timeout", "0"], ["--update", "late"]],
)
def test_options_that_cannot_be_meant_are_misuse(desk: Desk, options: list[str]) -> None:
    assert desk.verify(*desk.source).code == 0
    assert desk.verify(*options).code == 2


def test_a_ca_that_is_none(desk: Desk) -> None:
    assert code(desk.verify(*desk.source[:2], "--source-ca", desk.path("root.der"), "--json")) == "source-ca"


def test_a_bundle_verifies_again_without_anything_else(desk: Desk) -> None:
    first = desk.verify(*desk.source, "--bundle-out", desk.path("bundle"), "--json")
    asked = len(desk.server.asked)
    again = desk.verify("--json", thing="bundle", cache="none")
    assert again.code == 0
    del first.json["collateral"]
    assert {**first.json, "collateral": None} == {**again.json, "collateral": None}
    assert "by its own policy" in again.err
    assert len(desk.server.asked) == asked
    assert kloister("verify", desk.path("bundle")).code == 1  # under Intel's root


def test_options_are_stronger_than_a_bundle(desk: Desk) -> None:
    desk.verify(*desk.source, "--bundle-out", desk.path("bundle"))
    (desk.folder / "strict.json").write_text('{"simulated": "allow", "sgx": {"isvsvn": 7}}')
    assert desk.verify(thing="bundle").code == 0
    assert desk.verify("--policy", desk.path("strict.json"), thing="bundle").code == 1
    later = (datetime.now(UTC) + timedelta(days=60)).strftime("%Y-%m-%d")
    assert desk.verify("--at", later, "--json", thing="bundle").json["reason"]["code"].endswith("-expired")
    assert desk.verify("--proof-only", thing="bundle").code == 0


def test_a_bundle_keeps_its_policy_and_its_verdict(desk: Desk) -> None:
    (desk.folder / "strict.json").write_text('{"simulated": "allow", "sgx": {"isvsvn": 7}}')
    options = ["--policy", desk.path("strict.json"), "--bundle-out", desk.path("bundle")]
    assert desk.verify(*desk.source, *options).code == 1
    assert desk.verify("--json", thing="bundle").json["reason"]["code"]
    proof = ["--proof-only", "--bundle-out", desk.path("proof")]
    assert desk.verify(*desk.source, *proof).code == 0
    assert "no policy" in desk.verify(thing="proof").err


def test_a_damaged_bundle_is_refused(desk: Desk) -> None:
    desk.verify(*desk.source, "--bundle-out", desk.path("bundle"))
    text = (desk.folder / "bundle").read_text()
    (desk.folder / "bundle").write_text(text.replace('"at":"2', '"at":"3'))
    assert code(desk.verify("--json", thing="bundle")) == "evidence-bundle-hash"
    (desk.folder / "bundle").write_text(text)
    assert desk.verify(thing="bundle").code == 0


def test_a_pack_is_carried_to_a_place_without_a_network(desk: Desk) -> None:
    done = desk.collateral(
        "export", "--for", desk.path("quote.bin"), "--out", desk.path("pack"), *desk.source, "--json"
    )
    assert len(done.json["items"]) == 4
    assert desk.verify("--offline", cache="inside").code == 1
    assert len(desk.collateral("import", desk.path("pack"), "--json", cache="inside").json["taken"]) == 4
    assert desk.verify("--offline", cache="inside").code == 0
    assert desk.collateral("export", "--out", desk.path("pack")).out.endswith("(4 items)\n")


def test_a_pack_under_another_root_is_refused(desk: Desk) -> None:
    desk.collateral("export", "--for", desk.path("quote.bin"), "--out", desk.path("pack"), *desk.source)
    done = kloister("collateral", "import", desk.path("pack"), "--cache", desk.path("inside"), "--json")
    assert (done.code, done.json["taken"], len(done.json["refused"])) == (1, [], 4)
    assert done.json["refused"][0]["reason"]["code"] == "root-crl-issuer"


def test_what_is_held_is_shown_with_its_age_and_its_end(desk: Desk) -> None:
    assert desk.collateral("show").code == 1  # nothing yet
    desk.verify(*desk.source)
    shown = desk.collateral("show", "--json")
    assert shown.code == 0
    assert {row["state"] for row in shown.json["items"]} == {"valid"}
    assert {row["age_hours"] for row in shown.json["items"]} == {0}
    soon = desk.collateral("show", "--warn-days", "31")
    assert soon.code == 0
    assert soon.err.count("expires soon") == 4
    late = (datetime.now(UTC) + timedelta(days=40)).strftime("%Y-%m-%d")
    assert desk.collateral("show", "--at", late).code == 1
    assert desk.collateral("show", "--at", "never").code == 2


def test_a_pack_is_shown_and_a_damaged_one_named(desk: Desk) -> None:
    desk.collateral("export", "--for", desk.path("quote.bin"), "--out", desk.path("pack"), *desk.source)
    assert desk.collateral("show", desk.path("pack")).out.count(" from pccs ") == 4
    data = (desk.folder / "pack").read_text()
    (desk.folder / "pack").write_text(data.replace('"source":"pccs', '"source":"xccs', 1))
    done = desk.collateral("show", desk.path("pack"), "--json")
    assert code(done) == "collateral-pack-hash"
    assert "pack" in done.error["text"]
    assert code(desk.collateral("import", desk.path("pack"), "--json")) == "collateral-pack-hash"


def test_an_empty_policy_is_not_the_default_one(desk: Desk) -> None:
    (desk.folder / "empty.json").write_text("")
    assert desk.verify(*desk.source).code == 0
    done = desk.verify(*desk.source, "--policy", desk.path("empty.json"), "--json")
    assert (done.code, "error" in done.json) == (1, True)


def test_what_vouches_for_an_snp_report_is_fetched_once(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    issued = Issued(start=now - timedelta(days=1), end=now + timedelta(days=365))
    forge = replace(MILAN, vek=issued, ask=issued, ark=issued)
    (tmp_path / "report.bin").write_bytes(forge.signed())
    (tmp_path / "ark.der").write_bytes(forge.ark_der())
    command = ["verify", str(tmp_path / "report.bin"), "--root", str(tmp_path / "ark.der"), "--proof-only", "--json"]
    command += ["--cache", str(tmp_path / "cache")]
    crl = forge.crl(start=now - timedelta(days=1), end=now + timedelta(days=30))
    with pcs.serving(kds(forge, crl)) as server:
        done = kloister(*command, "--source", f"kds+{server.url}")
        assert (done.code, done.json["genuine"]) == (0, True), done
        assert {item["source"] for item in done.json["collateral"]} == {f"kds {server.url[7:]}"}
        assert len(server.asked) == 3
    assert kloister(*command, "--offline").json["genuine"] is True
    again = kloister(*command, "--source", f"kds+{server.url}")  # nobody answers there any more
    assert again.json["genuine"] is True


def test_a_pack_carries_amds_documents_too_and_names_no_chip(desk: Desk) -> None:
    now = datetime.now(UTC)
    issued = Issued(start=now - timedelta(days=1), end=now + timedelta(days=365))
    forge = replace(MILAN, vek=issued, ask=issued, ark=issued)
    report, chip = desk.folder / "report.bin", forge.report.chip_id.hex()
    report.write_bytes(forge.signed())
    (desk.folder / "ark.der").write_bytes(forge.ark_der())
    roots = [*desk.roots, "--root", desk.path("ark.der")]
    fetch = ["--for", desk.path("quote.bin"), "--for", str(report), "--out", desk.path("pack")]
    crl = forge.crl(start=now - timedelta(days=1), end=now + timedelta(days=30))
    with pcs.serving(kds(forge, crl)) as server:
        sources = [*desk.source, "--source", f"kds+{server.url}", "--cache", desk.path("cache")]
        exported = kloister("collateral", "export", *fetch, *roots, *sources, "--json")
    assert (exported.code, len(exported.json["items"])) == (0, 7), exported
    inside = [*roots, "--cache", desk.path("inside")]
    imported = kloister("collateral", "import", desk.path("pack"), *inside)
    assert (imported.code, imported.out) == (0, "taken: 7\n")
    shown = kloister("collateral", "show", *inside)
    assert (shown.code, shown.out.count(" to ")) == (0, 7)
    verify = ["verify", str(report), "--root", desk.path("ark.der"), "--cache", desk.path("inside"), "--offline"]
    done = kloister(*verify, "--bundle-out", desk.path("bundle"))
    assert done.code == 0
    assert kloister("verify", desk.path("bundle"), "--root", desk.path("ark.der"), "--offline").code == 0
    looked = kloister("collateral", "show", desk.path("pack"), "--json")
    for output in (exported, imported, shown, done, looked):
        assert chip not in (output.out + output.err).lower()
    assert kloister("collateral", "import", desk.path("pack"), *desk.roots, "--cache", desk.path("x")).code == 1
    neither = kloister("collateral", "export", "--for", str(report), "--out", desk.path("p"), *desk.roots)
    assert neither.code == 2
