from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.dcap import TcbStatus
from kloister.services.appraisal import batch_items
from kloister.services.appraisal.batch import CHUNK, Row, Setup, Summary, judge_all
from kloister.services.appraisal.batch_items import Item, count, items, passed_over
from kloister.simulator.documents import TcbStage
from tests.support.evidence import NOW, Forge, code_of
from tests.support.paths import vectors

FORGE = Forge()
QUOTE = base64.b64encode(FORGE.quote()).decode()
DOCUMENTS = FORGE.documents()
OLD = FORGE.documents(TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00001",)))
SETUP = Setup(roots=(FORGE.pki.root_der(),), collateral=json.dumps(DOCUMENTS).encode(), at=NOW)


def line(**members: Any) -> bytes:
    return json.dumps({"quote": QUOTE} | members).encode() + b"\n"


def judged(found: Iterable[Item], setup: Setup = SETUP, jobs: int = 1) -> list[Row]:
    return list(judge_all(found, setup, jobs))


def of_lines(*lines: bytes, setup: Setup = SETUP) -> list[str]:
    rows = judged(items(["-"], io.BytesIO(b"".join(lines))), setup)
    assert all(row.accepted == (row.reason is None) for row in rows)
    return [row.reason or "accepted" for row in rows]


def test_lines_have_collateral_and_time_of_their_own_or_those_of_all(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps(OLD))
    assert of_lines(
        line(),
        line(collateral=OLD),
        line(collateral=str(tmp_path / "old.json")),
        line(at="2026-06-16", id="x"),
        line(at=int(NOW.timestamp())),
        line(at="2027-06-16"),
        line(quote=FORGE.quote().hex()),
    ) == ["accepted", "tcb-not-accepted", "tcb-not-accepted", "accepted", "accepted", "root-crl-expired", "accepted"]


def test_a_line_may_name_its_piece() -> None:
    ids: list[Any] = ["host-1", 7, "", None, "x" * 256]
    rows = judged(items(["-"], io.BytesIO(b"".join(line(id=each, collateral=OLD) for each in ids))))
    assert [json.loads(row.text).get("id", "none") for row in rows] == ["host-1", 7, "", "none", "x" * 256]
    (broken,) = judged([Item("x", line=line(id="host-1", quote="%"))])
    assert (json.loads(broken.text)["id"], broken.reason) == ("host-1", "evidence-unknown")
    unfit: list[Any] = [True, 1.5, ["a"], {}, "x" * 257, 10**256]
    assert set(of_lines(*(line(id=each) for each in unfit))) == {"batch-line"}


def test_a_bad_line_is_rejected_and_stops_no_other() -> None:
    assert of_lines(
        b"{\n",
        b"[]\n",
        b"\n",
        line(quote=1),
        line(other=1),
        line(collateral=1),
        line(collateral={}),
        line(collateral="/nonexistent/collateral"),
        line(at="soon"),
        line(at=True),
        line(quote=""),
        line(quote=QUOTE[:2000]),
        line(),
    ) == [
        "batch-line-json",
        "batch-line",
        "batch-line",
        "batch-line",
        "batch-line",
        "collateral-field",
        "batch-unreadable",
        "time-syntax",
        "batch-line",
        "evidence-empty",
        "quote-truncated",
        "accepted",
    ]


def test_a_line_that_is_too_long_is_skipped_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_items, "MAX_LINE", len(line()))
    assert of_lines(line(), b"x" * 100_000 + b"\n", line(), b"x" * 100_000) == [
        "accepted",
        "batch-unreadable",
        "accepted",
        "batch-unreadable",
    ]


def test_without_collateral_an_item_is_rejected() -> None:
    assert of_lines(line(), line(collateral=DOCUMENTS), setup=replace(SETUP, collateral=None)) == [
        "collateral-missing",
        "accepted",
    ]


def test_pieces_are_counted_before_they_are_judged(tmp_path: Path) -> None:
    for name in ("one.bin", "two.quote", "notes.txt", "vcek.der"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "three.ndjson").write_bytes(line() + line() + line().rstrip())
    (tmp_path / "none.jsonl").write_bytes(b"")
    paths = [str(tmp_path), str(tmp_path / "notes.txt"), str(tmp_path / "missing.ndjson")]
    assert count(paths) == len(list(items(paths))) == 7
    assert count([*paths, "-"]) is None


def test_what_a_directory_holds_beside_evidence_is_known(tmp_path: Path) -> None:
    for name in ("one", "two.quote", "notes.txt", "evidence.json", "collateral.json", "vek.der", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    named = [str(tmp_path), str(tmp_path / "notes.txt"), "-"]
    assert [Path(one.source).name for one in items(named[:1])] == ["one", "two.quote"]
    assert [Path(name).name for name in passed_over(named)] == [".hidden", "evidence.json", "notes.txt"]


def test_pipes_in_a_directory_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "quote").write_bytes(FORGE.quote())
    rows = judged(items([str(tmp_path)]))
    assert [(Path(row.source).name, row.reason) for row in rows] == [("gone", "batch-unreadable"), ("quote", None)]
    assert count([str(tmp_path)]) == 2
    assert passed_over([str(tmp_path)]) == []


def test_a_report_of_amd_is_counted_by_its_product_line() -> None:
    folder = str(vectors("evidence", "snp", "v5-SEV-Turin-85da705e"))
    (row,) = judged(items([folder]), replace(SETUP, roots=(), at=datetime(2026, 6, 1, tzinfo=UTC)))
    assert (row.accepted, row.tee, row.platform, row.status) == (True, "snp", "Turin", None)


def test_directories_are_walked_in_order_with_the_collateral_beside(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "quote.bin").write_bytes(FORGE.quote())
    (tmp_path / "b" / "collateral.json").write_text(json.dumps(OLD))
    (tmp_path / "b" / "root.der").write_bytes(b"no evidence")
    (tmp_path / "b" / "notes.txt").write_bytes(b"no evidence")
    (tmp_path / "c.ndjson").write_bytes(line() + line())
    (tmp_path / "huge.bin").write_bytes(bytes((1 << 20) + 1))
    rows = judged(items([str(tmp_path), str(tmp_path / "b" / "notes.txt"), str(tmp_path / "missing")]))
    assert [(row.source.removeprefix(f"{tmp_path}/"), row.reason) for row in rows] == [
        ("c.ndjson:1", None),
        ("c.ndjson:2", None),
        ("huge.bin", "evidence-size"),
        ("a/quote.bin", None),
        ("b/quote.bin", "tcb-not-accepted"),
        ("b/notes.txt", "evidence-unknown"),
        ("missing", "batch-unreadable"),
    ]
    (missing,) = judged(items([str(tmp_path / "missing.ndjson")]))
    assert missing.reason == "batch-unreadable"


def test_the_vectors_give_their_verdicts_with_what_lies_beside_them() -> None:
    folder = vectors("evidence", "snp")
    genuine: dict[str, bool] = {}
    for year in (2025, 2026):  # at one of the two every key's certificate is valid
        setup = replace(SETUP, roots=(), at=datetime(year, 6, 1, tzinfo=UTC))
        for row in judged(items([str(folder)]), setup):
            assert row.tee == "snp"
            name = f"snp/{Path(row.source).parent.name}"
            genuine[name] = genuine.get(name, False) or row.genuine
    entries = json.loads(vectors("evidence", "index.json").read_text())
    assert genuine == {each["set"]: each["verdict"] == "accept" for each in entries if each["kind"] == "snp"}


def test_several_processes_give_the_same_rows_in_the_same_order() -> None:
    lines = [line(collateral=OLD) if number % 3 else line() for number in range(2 * CHUNK + 5)]
    found = [Item(f"x:{number}", line=each) for number, each in enumerate(lines)]
    one, two = judged(found), judged(iter(found), jobs=2)
    assert one == two
    assert [row.source for row in two] == [item.source for item in found]
    assert {row.accepted for row in two} == {True, False}


def test_a_row_has_the_object_of_an_appraisal_in_json() -> None:
    (row,) = judged([Item("x", line=line())])
    document = json.loads(row.text)
    assert (document["source"], document["verdict"], document["kind"]) == ("x", "accept", "quote")
    assert document["claims"]["mrenclave"] == "11" * 32
    (silent,) = judged([Item("x", line=line())], replace(SETUP, as_json=False))
    assert silent == replace(row, text="")


def test_the_policy_and_the_roots_hold_for_all() -> None:
    strict = replace(SETUP, policy=b"simulated: allow\nsgx: {isvsvn: 9}\n")
    assert of_lines(line(), setup=strict) == ["signer-svn"]
    assert of_lines(line(collateral=OLD), setup=replace(strict, proof_only=True)) == ["accepted"]
    assert of_lines(line(), setup=replace(SETUP, roots=())) == ["root-untrusted"]
    for unfit in (replace(SETUP, roots=(b"x",)), replace(SETUP, policy=b"x: 1"), replace(SETUP, collateral=b"{}")):
        assert code_of(lambda unfit=unfit: judged([], unfit)) != "accepted"  # type: ignore[misc]  # a default of a lambda


def test_the_summary_counts_by_verdict_tee_and_platform() -> None:
    summary = Summary()
    for row in judged([Item("x", line=line()), Item("y", line=line(collateral=OLD)), Item("z", line=b"{")]):
        summary.add(row)
    assert (summary.total, summary.accepted, summary.genuine) == (3, 1, 2)
    first, *rest = summary.lines()
    assert first == "3 judged: 1 accepted, 2 rejected, 2 genuine"
    fmspc = FORGE.pki.fmspc.hex()
    assert [each.split() for each in rest] == [
        ["1", "accept", "sgx", fmspc, "UpToDate"],
        ["1", "reject", "-", "-", "batch-line-json"],
        ["1", "reject", "sgx", fmspc, "tcb-not-accepted"],
    ]
