from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kloister.formats.oci.config import Execution
from kloister.images.runtime_layer import runtime_layer
from tests.support.images import file, tar, write_image
from tests.support.moments import killed_at

EPOCH = {"SOURCE_DATE_EPOCH": "1790000000"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    runtime_layer(folder)
    return folder


class Shell:
    """Runs `kloister` with a cache and a state of the test's own, in its folder."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KLOISTER_CACHE": str(cache),
            "KLOISTER_STATE": str(folder / "state"),
            **EPOCH,
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kloister", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=240, cwd=self.folder,
            env=self.environment | environment,
        )  # fmt: skip

    def names(self) -> set[str]:
        return {item.name for item in self.folder.iterdir()}


@pytest.fixture
def shell(tmp_path: Path, cache: Path) -> Shell:
    write_image(tmp_path / "src", [tar(file("bin/app", b"app", 0o755))], execution=Execution(entrypoint=("/bin/app",)))
    return Shell(tmp_path, cache)


def test_a_dry_run_predicts_and_writes_nothing(shell: Shell) -> None:
    before = shell.names()
    predicted = shell.run("convert", "oci:src", "oci:out", "--dry-run", "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert shell.names() == before
    done = shell.run("convert", "oci:src", "oci:out", "--json")
    assert done.returncode == 0, done.stderr
    results = [json.loads(item.stdout) for item in (predicted, done)]
    assert results[0]["mrenclave"] == results[1]["mrenclave"]
    assert [result["dryRun"] for result in results] == [True, False]
    assert shell.names() == {*before, "out", "out.policy.yaml", "state"}
    assert (shell.folder / "state/keys/signing.pem").stat().st_mode & 0o777 == 0o600


def test_another_day_gives_the_same_image_with_the_epoch_set(shell: Shell) -> None:
    digests = [
        json.loads(shell.run("convert", "oci:src", f"oci:{name}", "--json", **more).stdout)["digest"]
        for name, more in (("a", {}), ("b", {"TZ": "Asia/Tokyo"}), ("c", {"SOURCE_DATE_EPOCH": "0"}))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_bare_name_goes_to_the_local_store(shell: Shell) -> None:
    done = shell.run("convert", "oci:src", "clinic", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reference"] == f"oci:{shell.folder}/state/images:clinic"
    assert 'name: "clinic"' in (shell.folder / "state/policies/clinic.policy.yaml").read_text()
    again = shell.run("convert", "clinic", "oci:twice")
    assert (again.returncode, "[convert-twice]" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["oci:nowhere", "oci:out"], "image-missing"),
        (["oci:src", "docker-archive:out"], "destination-transport"),
        (["oci:src", "oci:out", "--key", "none.pem"], "signing-key-missing"),
        (["oci:src", "oci:out", "--broker-ca", "none.pem", "--policy", "a/b"], "broker-ca"),
        (["oci:src", "oci:out", "--encrypt", "all"], "encrypt-without-broker"),
        (["oci:src", "oci:out", "--policy-template", "none"], "policy-template"),
        (["oci:src", "../out"], "destination-name"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(shell: Shell, arguments: list[str], code: str) -> None:
    done = shell.run("convert", *arguments)
    assert done.returncode == 1
    assert f"[{code}]" in done.stderr
    assert "Traceback" not in done.stderr
    assert shell.names() <= {"src", "state"}


def test_killed_half_way_leaves_nothing_that_counts(shell: Shell) -> None:
    moment = "any(folder.glob('.out.partial-*'))"
    assert killed_at(moment, "convert oci:src oci:out", shell.folder, shell.environment)
    assert any(shell.folder.glob(".out.partial-*"))
    assert not {"out", "out.policy.yaml"} & shell.names()
    done = shell.run("convert", "oci:src", "oci:out")
    assert done.returncode == 0, done.stderr
    assert shell.names() == {"src", "state", "out", "out.policy.yaml", "said"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--policy", "x"], "policy-name"),
        (["--memory", "1T"], "convert-size"),
        (["--mount", "x"], "convert-mount"),
    ],
)
def test_a_value_that_cannot_be_meant_exits_2(shell: Shell, options: list[str], code: str) -> None:
    done = shell.run("convert", "oci:src", "oci:out", *options)
    assert (done.returncode, f"[{code}]" in done.stderr) == (2, True)
    assert shell.names() == {"src"}


def test_misuse_exits_2(shell: Shell) -> None:
    assert shell.run("convert", "oci:src").returncode == 2
    assert shell.run("convert", "oci:src", "oci:out", "--max-threads", "0").returncode == 2
