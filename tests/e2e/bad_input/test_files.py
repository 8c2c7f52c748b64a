"""Files that a command cannot use: a sentence with a code, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.bad_input.bench import CONVERT, SAMPLE, VERIFY, Bench
from tests.support.cli import (
    assert_refused,
    assert_refused_in_json,
    bad_contents,
    bad_files,
    bad_places,
    kloister,
)

pytestmark = pytest.mark.e2e


# command with {bad} in the place of one file, and that file's good bytes (for cut and damaged ones)
FILES = {
    "verify --root": ("verify {d}/quote --root {bad} --collateral {d}/c.json", "root.der"),
    "verify --collateral": ("verify {d}/quote --root {d}/root.der --collateral {bad}", "c.json"),
    "verify --policy": (VERIFY + " --policy {bad}", "tcb.json"),
    "policy lint": ("policy lint {bad}", "policy.yaml"),
    "policy lint --language maa": ("policy lint --language maa {bad}", "attestation.txt"),
    "policy test": ("policy test --language maa {bad} --claims {d}/claims.json", "attestation.txt"),
    "policy test --claims": ("policy test --language maa {d}/attestation.txt --claims {bad}", "claims.json"),
    "convert SRC, oci": ("convert oci:{bad} oci:out", "app"),
    "convert SRC, oci-archive": ("convert oci-archive:{bad} oci:out", "image.tar"),
    "convert SRC, docker-archive": ("convert docker-archive:{bad} oci:out", "image.tar"),
    "convert --broker-ca": (CONVERT + " --policy a/b --broker-ca {bad}", "root.der"),
    "convert --key": (CONVERT + " --key {bad}", "key.pem"),
    "convert --base": (CONVERT + " --base oci-archive:{bad}", "image.tar"),
    "image inspect, oci": ("image inspect oci:{bad}", "app"),
    "image inspect, oci-archive": ("image inspect --verify oci-archive:{bad}", "image.tar"),
    "image inspect, docker-archive": ("image inspect docker-archive:{bad}", "image.tar"),
    "image import": ("image import {bad} oci:out --max-unpacked 1", "image.tar"),
}
FINE = {  # what is no fault for a command: an archive's last bytes are padding, a directory can be imported
    ("convert SRC, oci-archive", "cut-at-its-end"),
    ("convert SRC, docker-archive", "cut-at-its-end"),
    ("convert --base", "cut-at-its-end"),
    ("image inspect, oci-archive", "cut-at-its-end"),
    ("image inspect, docker-archive", "cut-at-its-end"),
    ("image import", "cut-at-its-end"),
    ("image import", "directory"),
    ("image import", "huge"),  # zeros: an archive without entries, read to the limit, which takes seconds
    ("policy test --claims", "list"),  # of no claims
    ("policy test --claims", "object"),
    ("convert --key", "cut-at-its-end"),  # PEM does not need the last dash's line end
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_used(bench: Bench, tmp_path: Path, name: str) -> None:
    line, good = FILES[name]
    assert "{bad}" in line
    for kind, path in bad_files(tmp_path / "bad", bench.good(good)).items():
        if (name, kind) in FINE:
            continue
        assert_refused(kloister(*bench.args(line, path)), hint=kind)
        assert_refused_in_json(kloister(*bench.args(line, path), "--json"))


def test_the_good_files_are_accepted(bench: Bench) -> None:
    """Otherwise the refusals above would say nothing."""
    assert kloister(*bench.args(VERIFY)).code == 0
    assert kloister(*bench.args(VERIFY + " --policy {d}/tcb.json")).code == 0
    assert kloister("policy", "lint", "-", stdin=SAMPLE.read_bytes().replace(b"@MRENCLAVE@", b"00" * 32)).code == 0
    assert kloister(*bench.args("policy test --language maa {d}/attestation.txt --claims {d}/claims.json")).code == 0
    assert kloister(*bench.args("image inspect --verify oci:{d}/image")).code == 0
    assert kloister(*bench.args("image inspect --verify oci-archive:{d}/image.tar")).code == 0
    assert kloister(*bench.args(CONVERT + " --dry-run --key {d}/key.pem")).code == 0


@pytest.mark.parametrize(
    "line",
    [
        "simulator quote --enclave {bad} --report-data 00 --out out",
        CONVERT + " --policy-template {bad}",
        CONVERT + " --key-cache {bad}/x --encrypt all --broker-ca {d}/root.der --policy a/b",
        "secret set a/b c --file {bad}",
        "policy apply {bad}",
        "run oci-archive:{bad}",
        "run oci:{bad}",
    ],
)
def test_a_name_that_cannot_be_read(bench: Bench, tmp_path: Path, line: str) -> None:
    for kind, path in bad_places(tmp_path / "bad").items():
        if "--key-cache" in line and kind == "missing":
            continue
        assert_refused(kloister(*bench.args(line, path)))
        if not line.startswith("run "):  # prints what the application prints
            assert_refused_in_json(kloister(*bench.args(line, path), "--json"))


def test_evidence_that_is_none_has_an_object_of_its_own(bench: Bench, tmp_path: Path) -> None:
    rest = bench.args("--root {d}/root.der --collateral {d}/c.json --json")
    for kind, content in bad_contents(bench.good("quote")).items():
        path = tmp_path / kind
        path.write_bytes(content)
        done = kloister("verify", path, *rest)
        assert done.code == 1, kind
        assert (done.json["genuine"], done.json["verdict"]) == (False, "reject")
        assert done.json["reason"]["code"] not in ("", "internal")
        assert kloister("verify", "-", *rest, stdin=content).json == done.json
    for path in bad_places(tmp_path / "bad").values():
        assert_refused_in_json(kloister("verify", path, *rest))


@pytest.mark.parametrize(
    "change", [b"apiVersion: kloister.dev/v2", b"apiVersion: 1", b"apiVersion: null", b"apiVersion: [kloister.dev/v1]"]
)
def test_a_policy_of_another_version(change: bytes) -> None:
    document = SAMPLE.read_bytes().replace(b"@MRENCLAVE@", b"00" * 32)
    other = document.replace(b"apiVersion: kloister.dev/v1", change)
    assert other != document
    assert_refused(kloister("policy", "lint", "-", stdin=other), "policy-invalid")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe")
    assert_refused(kloister("verify", name))
    assert "xff" in kloister("verify", name, "--json").error["text"].replace("\udcff", "\\xff")
    assert_refused(kloister("image", "inspect", f"oci:{name}"))
    source = tmp_path / "source"
    source.mkdir()
    (source / os.fsdecode(b"\xfe")).write_bytes(b"x")
    done = kloister("image", "import", source, f"oci:{name}", "--json")
    assert done.code == 0, done
    assert kloister("image", "inspect", f"oci:{name}", "--files").code == 0
