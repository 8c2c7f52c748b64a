"""State directories that cannot be one, are damaged, or may not be read; settings of the environment."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.bad_input.bench import CONVERT, Bench
from tests.support.cli import (
    assert_refused,
    assert_refused_in_json,
    bad_contents,
    bad_places,
    kloister,
    process,
)

pytestmark = pytest.mark.e2e


STATEFUL = (
    "up",
    "down",
    "status",
    "simulator init",
    "simulator status",
    "simulator root --out out",
    "policy list",
    "policy show a/b",
    "secret list a/b",
    "secret show --public a/b c",
    "audit show",
    "audit verify",
    "explain ABCD",
    "convert oci:{d}/image name",
    "run name",
    "serve platform",
    "serve broker",
)


@pytest.mark.parametrize("line", STATEFUL)
def test_a_state_directory_that_cannot_be_one(bench: Bench, tmp_path: Path, line: str) -> None:
    places = bad_places(tmp_path / "bad")
    for kind in ("dangling", "loop", "huge", "below-a-file", "long-name", "endless"):
        assert_refused(kloister(*bench.args(line), "--state", places[kind]))


@pytest.mark.parametrize("name", ["fuses", "author.pem"])
def test_a_damaged_platform(bench: Bench, tmp_path: Path, name: str) -> None:
    quote = bench.args("simulator quote --enclave {d}/app --report-data 00 --out")
    good = tmp_path / "good"
    assert kloister(*quote, good).code == 0
    place = tmp_path / "state" / "platform" / name
    kept = place.read_bytes()
    for kind, content in bad_contents(kept).items():
        if (name, kind) == ("author.pem", "cut-at-its-end"):
            continue  # PEM without its line end
        place.write_bytes(content)
        assert_refused(kloister(*quote, "out"))
    if name == "fuses":
        place.write_bytes(bytes([kept[0] ^ 1]) + kept[1:])  # another magic or version
        assert_refused(kloister("simulator", "status"))
    place.write_bytes(kept)
    assert kloister(*quote, good).code == 0


def test_a_damaged_stack_document(tmp_path: Path) -> None:
    assert kloister("down").code == 0
    document = tmp_path / "state" / "stack.json"
    for content in bad_contents(document.read_bytes()).values():
        document.write_bytes(content)
        assert_refused(kloister("status"), "stack-document")
        assert_refused_in_json(kloister("status", "--json"), "stack-document")
        assert kloister("down").code == 0  # writes it anew
        assert kloister("status", "--json").json["running"] is False
    for odd in ({"platform": {"pid": 1, "started": "x"}}, {"broker": {"pid": -1}}, {"platform": [], "address": 7}):
        document.write_text(json.dumps(odd))
        assert kloister("status", "--json").json["running"] is False


@pytest.fixture(scope="module")
def closed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the good files that nobody may read, and directories that nobody may write to."""
    folder = tmp_path_factory.mktemp("closed")
    shutil.copytree(bench.folder / "image", folder / "image")
    for name in ("quote", "root.der", "c.json", "policy.yaml", "key.pem", "image.tar", "app"):
        shutil.copy(bench.folder / name, folder / name)
        (folder / name).chmod(0)
    (folder / "image" / "index.json").chmod(0)
    for name in ("read-only", "locked"):
        (folder / name).mkdir()
    (folder / "read-only").chmod(0o500)
    (folder / "locked").chmod(0)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "verify {bad}/quote --root {d}/root.der --collateral {d}/c.json",
        "verify {d}/quote --root {bad}/root.der --collateral {d}/c.json",
        "verify {d}/quote --root {d}/root.der --collateral {bad}/c.json",
        "policy lint {bad}/policy.yaml",
        "image inspect oci:{bad}/image",
        "image inspect oci-archive:{bad}/image.tar",
        "image import {bad}/image.tar oci:out",
        "image import {bad} oci:out",
        "image import {d}/image oci:{bad}/read-only/out",
        "convert oci:{bad}/locked/x oci:out",
        CONVERT + " --key {bad}/key.pem",
        "convert oci:{d}/image oci:{bad}/read-only/out",
        "simulator quote --enclave {bad}/app --report-data 00 --out out",
        "simulator root --out {bad}/read-only/out",
        "status --state {bad}/locked",
        "up --state {bad}/read-only/state",
        "run oci:{bad}/image",
    ],
)
def test_what_may_not_be_read_or_written(bench: Bench, closed: Path, line: str) -> None:
    """As an ordinary user, or as root without the power over all files."""
    drop = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-dac_override")
    assert_refused(process(*bench.args(line, closed), prefix=drop if os.geteuid() == 0 else ()))


@pytest.mark.parametrize("setting", ["x", "-", "1" * 30, "1e9"])
def test_source_date_epoch_that_is_no_time(bench: Bench, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", setting)
    assert_refused(kloister(*bench.args(CONVERT)), "source-date-epoch")
    assert_refused(kloister(*bench.args("image import {d}/image oci:out")), "import-option")


@pytest.mark.parametrize("setting", ["x", "0", "-1", "1.5", "9" * 12])
def test_an_epc_that_cannot_be(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("KLOISTER_PLATFORM_EPC", setting)
    assert_refused(kloister("serve", "platform"), "platform-epc")
