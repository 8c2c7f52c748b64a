"""The webhook's image: who it runs as, what it holds, that it starts, and that it repeats."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.images.build import Builder
from deploy.images.roles import ROLES, USER


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("image")
    builder = Builder(place / "scratch")
    builder.build(ROLES["webhook"], f"oci:{place}/layout:webhook")
    (place / "root").mkdir()
    for layer in builder.layers(ROLES["webhook"]):
        subprocess.run(["cp", "-a", "--remove-destination", f"{layer.root}/.", str(place / "root")], check=True)
    return place


def test_roles_share_their_layers(image: Path, tmp_path: Path) -> None:
    builder = Builder(tmp_path / "scratch")
    for name in ("webhook", "controller"):
        builder.build(ROLES[name], f"oci:{tmp_path}/{name}:{name}")
    webhook, controller = (_digests(tmp_path / name) for name in ("webhook", "controller"))
    assert webhook == _digests(image / "layout"), "it repeats"
    assert webhook[:-1] == controller[:-1]
    assert webhook[-1] != controller[-1]


def _digests(layout: Path) -> list[str]:
    return [layer["digest"] for layer in _manifest(layout)["layers"]]


def _blob(layout: Path, digest: str) -> Any:
    return json.loads((layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text())


def _manifest(layout: Path) -> Any:
    return _blob(layout, json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])


def test_it_runs_as_an_ordinary_user(image: Path) -> None:
    config = _blob(image / "layout", _manifest(image / "layout")["config"]["digest"])["config"]
    assert config["User"] == f"{USER[1]}:{USER[1]}"
    assert config["Entrypoint"][-2:] == ["serve", "webhook"]


def test_it_names_what_it_holds(image: Path) -> None:
    document = json.loads((image / "root/usr/share/doc/kloister/sbom.json").read_text())
    names = {component["name"] for component in document["components"]}
    assert {"cpython", "cryptography", "lightkube", "libc6"} <= names
    assert "sqlalchemy" not in {name.lower() for name in names}, "only its own extra"


def test_it_starts(image: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    command = ["/usr/sbin/chroot", f"--userspec={USER[1]}:{USER[1]}", str(image / "root")]
    run = subprocess.run(
        [*command, "/usr/local/bin/python3", "-I", "-m", "kloister", "serve", "webhook"],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"},
    )  # fmt: skip
    assert "[cluster-unknown]" in run.stderr, "it came as far as it can without a cluster"
