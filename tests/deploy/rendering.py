from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kloister.kubernetes.manifests.rendering import Choice, render
from tests.support.paths import ROOT

Json = dict[str, Any]
CHART = ROOT / "deploy" / "helm" / "kloister"
FORMS = ("base", "simulated")
_CACHED = Path.home() / ".cache" / "kloister" / "bin" / "helm"


def program(name: str) -> str:
    """The program, or the test is skipped."""
    found = shutil.which(name) or (str(_CACHED) if name == "helm" and _CACHED.exists() else None)
    if found is None:
        pytest.skip(f"{name} is not on this machine" + (": `make helm` installs it" if name == "helm" else ""))
    return found


def documents(text: str) -> dict[tuple[str, str], Json]:
    """The objects of a YAML stream, by kind and name."""
    loaded = [item for item in YAML(typ="safe").load_all(text) if item]
    found = {(item["kind"], item["metadata"]["name"]): item for item in loaded}
    assert len(found) == len(loaded), "two objects of one name"
    return found


def output(*command: str) -> str:
    """What a command prints; it must succeed."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def rendered(form: str, minor: int = 34) -> dict[tuple[str, str], Json]:
    """A form as `kloister kube install` applies it to a server of version 1.`minor`."""
    objects = render(Choice(simulate="1Gi" if form == "simulated" else "", minor=minor))
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


def kustomized(form: str) -> dict[tuple[str, str], Json]:
    """A form as `kubectl kustomize` renders it (Kustomize 3 or newer)."""
    version = json.loads(output(program("kubectl"), "version", "--client", "--output=json"))
    if "kustomizeVersion" not in version:
        pytest.skip("this kubectl has a Kustomize of before 2021")
    return documents(output(program("kubectl"), "kustomize", str(ROOT / "deploy" / "kustomize" / form)))


def templated(*settings: str, version: str = "1.34.0") -> dict[tuple[str, str], Json]:
    """The chart as `helm template` renders it for a version of Kubernetes."""
    pairs = [part for setting in settings for part in ("--set", setting)]
    command = (program("helm"), "template", "kloister", str(CHART), "-n", "kloister-system", "--include-crds", *pairs)
    return documents(output(*command, "--kube-version", version))


def normal(value: Any) -> Any:
    """Without what only one form says, and lists of named objects in one order."""
    if isinstance(value, dict):
        return {name: normal(item) for name, item in value.items() if name != "imagePullPolicy"}
    if isinstance(value, list):
        named = all(isinstance(item, dict) and "name" in item for item in value)
        return [normal(item) for item in (sorted(value, key=lambda item: str(item["name"])) if named else value)]
    return value
