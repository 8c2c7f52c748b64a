from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.images import file, tar, write_image


def image(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kloister", "image", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, env=os.environ | environment
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of one program."""
    (tmp_path / "root" / "bin").mkdir(parents=True)
    (tmp_path / "root" / "bin" / "app").write_bytes(b"program")
    os.mkfifo(tmp_path / "root" / "pipe")
    return tmp_path / "root"


def test_an_image_is_imported_and_inspected(tmp_path: Path, root: Path) -> None:
    ref = f"oci:{tmp_path}/l:v1"
    words = "--cmd y --cmd z --env A=b --user 7:8 --workdir /bin --volume /data --label who=me --owner 1:2"
    done = image("import", str(root), ref, "--entrypoint", '["/bin/app", "-x"]', *words.split(" "), "--json")
    assert done.returncode == 0, done.stderr
    imported = json.loads(done.stdout)
    assert imported["entries"] == 3
    assert [note["path"] for note in imported["notes"]] == ["/pipe"]
    shown = json.loads(image("inspect", ref, "--files", "--json").stdout)
    assert (shown["digest"], shown["entrypoint"], shown["cmd"]) == (imported["digest"], ["/bin/app", "-x"], ["y", "z"])
    assert (shown["environment"], shown["user"], shown["workdir"]) == (["A=b"], "7:8", "/bin")
    assert (shown["volumes"], shown["labels"], shown["entries"]) == (["/data"], {"who": "me"}, 3)
    assert {line.split()[2] for line in shown["files"]} == {"1"}
    told = image("inspect", ref, "--verify")
    assert imported["digest"] in told.stdout
    assert "every digest is right" in told.stdout
    assert image("inspect", ref, "--files").stdout.startswith("kloister-tree/1\n")


def test_times_are_clamped_to_source_date_epoch(tmp_path: Path, root: Path) -> None:
    ref = f"oci:{tmp_path}/l:v1"
    assert image("import", str(root), ref, SOURCE_DATE_EPOCH="86400").returncode == 0
    shown = json.loads(image("inspect", ref, "--files", "--json").stdout)
    assert shown["created"] == "1970-01-02T00:00:00Z"
    assert {line.split()[4] for line in shown["files"]} == {"86400"}
    refused = image("import", str(root), ref, SOURCE_DATE_EPOCH="yesterday")
    assert refused.returncode == 1
    assert "[import-option]" in refused.stderr


def test_a_dry_run_writes_nothing(tmp_path: Path, root: Path) -> None:
    done = image("import", str(root), f"oci:{tmp_path}/l", "--dry-run")
    assert done.returncode == 0
    assert "would be an image of 3 entries" in done.stdout
    assert "a named pipe was left out" in done.stderr
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["import", "{}/none", "oci:{}/l"], 1, "[import-missing]"),
        (["import", "{}/root", "docker://l"], 1, "[reference-transport]"),
        (["import", "{}/root", "oci:{}/root"], 1, "[destination-occupied]"),
        (["import", "{}/root", "oci:{}/l", "--env", "A"], 2, "[import-option]"),
        (["import", "{}/root", "oci:{}/l", "--entrypoint", "[1]"], 2, "JSON list"),
        (["import", "{}/root", "oci:{}/l", "--entrypoint", "[x"], 2, "JSON list"),
        (["import", "{}/root", "oci:{}/l", "--owner", "me"], 2, "UID:GID"),
        (["import", "{}/root", "oci:{}/l", "--label", "x"], 2, "NAME=VALUE"),
        (["import", "{}/root", "oci:{}/l", "--compression", "0"], 2, "--compression"),
        (["import", "{}/root"], 2, "DST"),
        (["inspect", "oci:{}/none"], 1, "[image-missing]"),
        (["inspect", "oci:{}/root"], 1, "[layout-missing]"),
        (["inspect"], 2, "reference"),
    ],
)
def test_bad_input_is_said_and_leaves_nothing(
    tmp_path: Path, root: Path, arguments: list[str], status: int, word: str
) -> None:
    done = image(*(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert done.returncode == status
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [root]


def test_a_hostile_image_is_refused_in_json_too(tmp_path: Path) -> None:
    write_image(tmp_path / "l", [tar(file("../evil"))])
    done = image("inspect", f"oci:{tmp_path}/l", "--verify", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "layer-path-escape"
