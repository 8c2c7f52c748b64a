"""Command lines that cannot be meant, and names that name nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.bad_input.bench import CONVERT, Bench
from tests.support.cli import (
    assert_refused,
    kloister,
)

pytestmark = pytest.mark.e2e


# an option whose value cannot be meant, or a command line that is none
MISUSE = (
    "demo extra",
    "up --bogus",
    "up --listen nowhere",
    "up --listen 127.0.0.1:99999",
    "up --listen :1",
    "down extra",
    "status extra",
    "convert",
    "convert oci:{d}/image",
    "convert a b c",
    CONVERT + " --max-threads 0",
    CONVERT + " --max-threads many",
    CONVERT + " --isvprodid 65536",
    CONVERT + " --isvsvn -1",
    CONVERT + " --memory 1T",
    CONVERT + " --memory -5",
    CONVERT + " --mount x",
    CONVERT + " --mount a=/x --mount a=/y",
    CONVERT + " --policy x",
    CONVERT + " --policy a/b/c",
    "run",
    "run name --slot x",
    "run name --mount x",
    "run name --json",
    "verify",
    "verify {d}/quote --at yesterday",
    "verify {d}/quote --at 99999999999999",
    "verify {d}/quote --policy {d}/tcb.json --proof-only",
    "image",
    "image import {d}/image",
    "image import {d}/image oci:out --compression 10",
    "image import {d}/image oci:out --max-unpacked 0",
    "image import {d}/image oci:out --owner me",
    "image import {d}/image oci:out --label x",
    "image import {d}/image oci:out --env x",
    "image import {d}/image oci:out --workdir relative",
    "image import {d}/image oci:out --entrypoint [1]",
    "image inspect",
    "image sample",
    "image sample clinic",
    "policy apply",
    "policy show",
    "policy lint",
    "policy lint --language rego {d}/policy.yaml",
    "policy test {d}/policy.yaml --claims {d}/claims.json",
    "policy test --language maa {d}/attestation.txt",
    "policy test --language maa {d}/attestation.txt --evidence {d}/quote --vek {d}/root.der",
    "secret list",
    "secret set a/b",
    "secret set a/b c value",
    "secret show a/b",
    "audit show --after -1",
    "audit show --after x",
    "audit bogus",
    "explain",
    "simulator",
    "simulator root",
    "simulator tcb-recovery UpToDate --stage 9",
    "simulator tcb-recovery Nonsense",
    "simulator tcb-recovery OutOfDate --advisory x",
    "simulator pcs --listen nowhere",
    "simulator collateral",
    "simulator quote --enclave {d}/app --out out",
    "simulator quote --enclave {d}/app --report-data zz --out out",
    "simulator quote --enclave {d}/app --report-data 0 --out out",
    "simulator quote --enclave {d}/app --out out --report-data " + "00" * 65,
    "doctor extra",
    "serve",
    "serve nothing",
    "serve broker --listen nowhere",
    "version extra",
    "no-such-verb",
)


@pytest.mark.parametrize("line", MISUSE)
def test_misuse_exits_2(bench: Bench, line: str) -> None:
    done = kloister(*bench.args(line))
    said = done.out + done.err
    assert done.code == 2, said
    assert "Usage: " in said or "[" in said
    assert "Traceback" not in said
    assert "internal" not in said


# arguments that are well-formed as a command line, but name nothing that can be used
NAMES = (
    ("convert nowhere oci:out", "image-unknown"),
    ("convert docker://redis oci:out", None),
    ("convert oci: oci:out", "reference-path"),
    ("convert oci:{d}/image:none oci:out", "image-tag"),
    ("convert oci:{d}/image ../out", "destination-name"),
    ("convert oci:{d}/image docker-archive:out", "destination-transport"),
    ("convert oci:{d}/image oci:{d}/app", "destination-occupied"),
    ("convert oci:{d}/image oci:{d}", "destination-occupied"),
    ("convert oci:{d}/image oci-archive:{d}", "destination-occupied"),
    ("convert oci:{d}/image oci:/proc/1/x", None),
    ("convert oci:{d}/image oci:out --enclave-size 3M", None),
    ("convert oci:{d}/image oci:out --encrypt app", "encrypt-without-broker"),
    ("convert oci:{d}/image oci:out --encrypt 9 --broker-ca {d}/root.der --policy a/b", None),
    ("image import {d}/image docker://x", "reference-transport"),
    ("image import {d}/image oci:{d}/app", "destination-occupied"),
    ("image inspect redis", "reference-transport"),
    ("image sample none oci:out", "sample-unknown"),
    ("image sample clinic nowhere", "reference-transport"),
    ("demo --dir {d}/none", "os-enoent"),
    ("demo --dir {d}/app", "os-enotdir"),
    ("run nowhere", "image-unknown"),
    ("run oci:{d}/image", None),
    ("policy list", "broker-unreachable"),
    ("policy show ab", "policy-name"),
    ("policy apply {d}/policy.yaml", "broker-unreachable"),
    ("secret set ab c --file {d}/app", "policy-name"),
    ("secret set a/b c --file {d}/app", "broker-unreachable"),
    ("secret show a/b c", "secret-private"),
    ("audit show", "broker-unreachable"),
    ("audit verify", "broker-unreachable"),
    ("explain ABCD", "broker-unreachable"),
    ("status", None),
    ("verify {d}/quote --offline --cache {d}/none", "collateral-not-held"),
    ("verify {d}/quote --root {d}/root.der --cache {d}/../k --source https://127.0.0.1:1", "collateral-unreachable"),
    ("collateral import {d}/none", None),
    ("collateral show {d}/none", None),
    ("simulator root --out {d}/none/root", None),
    ("simulator collateral --out {d}", None),
    ("simulator quote --enclave {d}/app --report-data 00 --out /proc/1/x", None),
)


@pytest.mark.parametrize(("line", "code"), NAMES)
def test_a_name_that_names_nothing(bench: Bench, line: str, code: str | None) -> None:
    before = _listing(bench.folder)
    done = kloister(*bench.args(line))
    if line != "status":  # which answers, with exit code 1
        assert_refused(done, code)
    if not line.startswith("run "):
        answer = kloister(*bench.args(line), "--json")
        assert answer.code == 1
        assert "error" in answer.json or line == "status"
    assert _listing(bench.folder) == before


def _listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
