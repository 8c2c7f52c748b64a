"""Files that a command cannot use, and values that cannot be meant: a sentence with a code, nothing written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.cli import (
    assert_refused,
    assert_refused_in_json,
    bad_contents,
    bad_files,
    bad_places,
    kloister,
    process,
)
from tests.support.images import directory, file, tar, write_image
from tests.support.paths import ROOT

pytestmark = pytest.mark.e2e

SAMPLE = ROOT / "examples" / "clinic" / "policy.yaml"


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder with one good file of every kind; `args` fills in its names."""

    folder: Path

    def args(self, line: str, bad: str | Path = "") -> list[str]:
        names = {"d": str(self.folder), "bad": str(bad)}
        return [word.format(**names) for word in line.split()]

    def good(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    bench = Bench(folder)
    (folder / "app").write_bytes(b"an enclave's content")
    shutil.copy(SAMPLE, folder / "policy.yaml")
    (folder / "tcb.json").write_bytes(b'{"simulated": "allow"}')
    (folder / "attestation.txt").write_bytes(b"version=1.0;authorizationrules{=>permit();};")
    (folder / "claims.json").write_bytes(b'{"x-ms-ver": "1.0"}')
    key = rsa.generate_private_key(3, 3072).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key)
    (folder / "key.pem").chmod(0o600)
    write_image(folder / "image", [tar(directory("bin/"), file("bin/app", b"#!x", 0o755)), tar(file("data", b"y"))])
    for line in (
        "simulator root --state {d}/state --out {d}/root.der",
        "simulator collateral --state {d}/state --out {d}/c.json",
        "simulator quote --state {d}/state --enclave {d}/app --report-data 00 --out {d}/quote",
        "image import {d}/image oci-archive:{d}/image.tar --entrypoint /x",
    ):
        done = kloister(*bench.args(line))
        assert done.code == 0, done
    return bench


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory beside a state of its own; a refused command must leave it empty."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("KLOISTER_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(work)
    yield work
    assert os.listdir(work) == []  # noqa: PTH208 - names are all that is wanted


VERIFY = "verify {d}/quote --root {d}/root.der --collateral {d}/c.json"
CONVERT = "convert oci:{d}/image oci:out"

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


LAYOUT_FILES = ("oci-layout", "index.json", "manifest", "config", "layer")


@pytest.mark.parametrize("part", LAYOUT_FILES)
def test_a_damaged_layout(bench: Bench, tmp_path: Path, part: str) -> None:
    layout = tmp_path / "layout"
    shutil.copytree(bench.folder / "image", layout)
    place = _part(layout, part)
    good = place.read_bytes()
    for kind, content in bad_contents(good).items():
        place.write_bytes(content)
        for line in ("image inspect --verify oci:{bad}", "convert oci:{bad} oci:out"):
            done = kloister(*bench.args(line, layout))
            if (part, kind) != ("index.json", "cut-at-its-end") or done.code:
                assert_refused(done)
    for kind, path in bad_places(tmp_path / "bad").items():
        place.unlink(missing_ok=True)
        place.symlink_to(path)
        assert_refused(kloister(*bench.args("image inspect --verify oci:{bad}", layout)))
        assert kind
    place.unlink()
    place.write_bytes(good)
    assert kloister(*bench.args("image inspect --verify oci:{bad}", layout)).code == 0


def _part(layout: Path, part: str) -> Path:
    if not (layout / part).exists():
        manifest = _blob(layout, json.loads((layout / "index.json").read_bytes())["manifests"][0])
        document = json.loads(manifest.read_bytes())
        return {"manifest": manifest, "config": _blob(layout, document["config"])}.get(
            part, _blob(layout, document["layers"][0])
        )
    return layout / part


def _blob(layout: Path, descriptor: dict[str, str]) -> Path:
    return layout / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")


def _changed(document: bytes, **members: object) -> bytes:
    return json.dumps({**json.loads(document), **members}).encode()


def _other_manifest(layout: Path, **members: object) -> None:
    """The layout with another manifest, its digest and size right."""
    index = json.loads((layout / "index.json").read_bytes())
    data = _changed(_part(layout, "manifest").read_bytes(), **members)
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    index["manifests"][0] |= {"digest": f"sha256:{digest}", "size": len(data)}
    (layout / "index.json").write_text(json.dumps(index))


def _other(name: str, **members: object) -> Callable[[Path], None]:
    def change(layout: Path) -> None:
        (layout / name).write_bytes(_changed((layout / name).read_bytes(), **members))

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_other("oci-layout", imageLayoutVersion="2.0.0"), "layout-version"),
        (_other("oci-layout", imageLayoutVersion=1), "layout-field"),
        (_other("index.json", schemaVersion=3), "index-version"),
        (_other("index.json", schemaVersion="2"), None),
        (_other("index.json", manifests={}), None),
        (_other("index.json", manifests=[]), "image-tag"),
        (lambda layout: _other_manifest(layout, schemaVersion=1), "manifest-version"),
        (lambda layout: _other_manifest(layout, mediaType="text/plain"), None),
        (lambda layout: _other_manifest(layout, layers="none"), None),
        (lambda layout: _other_manifest(layout, config=None), None),
    ],
)
def test_a_layout_of_another_version(
    bench: Bench, tmp_path: Path, change: Callable[[Path], None], code: str | None
) -> None:
    layout = tmp_path / "layout"
    shutil.copytree(bench.folder / "image", layout)
    assert kloister("image", "inspect", f"oci:{layout}").code == 0
    change(layout)
    assert_refused(kloister("image", "inspect", f"oci:{layout}"), code)
    assert_refused_in_json(kloister("convert", f"oci:{layout}", "oci:out", "--json"), code)
    assert_refused(kloister("run", f"oci:{layout}"), code)


@pytest.mark.parametrize(
    "change", [b"apiVersion: kloister.dev/v2", b"apiVersion: 1", b"apiVersion: null", b"apiVersion: [kloister.dev/v1]"]
)
def test_a_policy_of_another_version(change: bytes) -> None:
    document = SAMPLE.read_bytes().replace(b"@MRENCLAVE@", b"00" * 32)
    other = document.replace(b"apiVersion: kloister.dev/v1", change)
    assert other != document
    assert_refused(kloister("policy", "lint", "-", stdin=other), "policy-invalid")


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


@pytest.fixture(scope="module")
def closed(bench: Bench) -> Path:
    """Copies of the good files that nobody may read, and directories that nobody may write to."""
    folder = bench.folder / "closed"
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
