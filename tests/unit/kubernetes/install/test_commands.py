"""The commands against a stand-in for kubectl that answers from files; the real one is used in tests/cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kloister import clock
from kloister.cli.kube import kube_app
from kloister.cli.node import node_app
from kloister.cli.serve import serve_app
from kloister.kubernetes.resources import ConfidentialNode, Section
from tests.unit.kubernetes.install.test_nodes import node

_SCRIPT = """#!{python}
import json, sys
from pathlib import Path
here = Path(__file__).parent
given = sys.stdin.read() if "--filename=-" in sys.argv else ""
with (here / "calls").open("a") as calls:
    calls.write(json.dumps([sys.argv[1:], given]) + "\\n")
arguments = [part for part in sys.argv[1:] if not part.startswith("--context")]
if arguments[0] == "version":
    print(json.dumps({{"serverVersion": {{"minor": "30+"}}}}))
elif arguments[:2] == ["auth", "can-i"]:
    print("yes")
elif arguments[0] == "get":
    place = here / arguments[1]
    if not place.exists():
        sys.exit(f"error: the server doesn't have a resource type {{arguments[1]!r}}")
    print(place.read_text())
elif arguments[0] in ("apply", "delete"):
    print("done")
    if arguments[:2] == ["delete", "confidentialnodes"]:
        (here / "nodes").write_text('{{"items": []}}')
"""


class Kubernetes:
    def __init__(self, place: Path) -> None:
        self.place = place
        script = place / "kubectl"
        script.write_text(_SCRIPT.format(python=sys.executable))
        script.chmod(0o755)
        for kind in ("daemonsets", "deployments", "statefulsets", "mutatingwebhookconfigurations", "pods"):
            self.have(kind, [])

    def have(self, kind: str, items: list[Any]) -> None:
        (self.place / kind).write_text(json.dumps({"items": items}))

    def calls(self) -> list[tuple[list[str], str]]:
        return [tuple(json.loads(line)) for line in (self.place / "calls").read_text().splitlines()]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubernetes:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    made = Kubernetes(tmp_path)
    report = ConfidentialNode("n1", 8 << 20, (Section(0, 1 << 30),), frozenset(), simulated=True, seen=clock.now())
    made.have("nodes", [node("n1"), node("n2")])
    made.have("confidentialnodes", [report.build()])
    return made


def run(app: Any, *arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_install_applies_everything_and_waits(cluster: Kubernetes) -> None:
    result = run(kube_app, "install", "--registry", "registry.example/k/", "--context", "prod", "--json")
    assert result.exit_code == 0, result.output
    applied = next(json.loads(given) for arguments, given in cluster.calls() if "apply" in arguments)
    assert "registry.example/k/kloister-webhook:" in json.dumps(applied)
    assert all("--context=prod" in arguments for arguments, _ in cluster.calls())
    waited = [arguments[3] for arguments, _ in cluster.calls() if arguments[1:3] == ["rollout", "status"]]
    assert "daemonset/kloister-node" in waited
    assert "statefulset/kloister-broker" in waited


def test_a_dry_run_changes_nothing(cluster: Kubernetes) -> None:
    result = run(kube_app, "install", "--dry-run", "--simulate", "1Gi")
    assert "kloister-platform" in result.stdout
    assert [arguments[0] for arguments, _ in cluster.calls()] == ["version"]


@pytest.mark.parametrize("size", ["lots", "0", "1Gi,", "1.3Mi"])
def test_a_size_that_cannot_be_is_misuse_and_nothing_is_asked(cluster: Kubernetes, size: str) -> None:
    result = run(kube_app, "install", "--dry-run", "--simulate", size)
    assert result.exit_code == 2
    assert "[simulated-epc]" in result.output
    assert not (cluster.place / "calls").exists()
    assert run(kube_app, "install", "--dry-run", "--simulate", "1.5Gi").exit_code == 0


def test_check_says_what_is_missing_and_then_that_all_is_well(cluster: Kubernetes) -> None:
    result = run(kube_app, "check", "--json")
    assert result.exit_code == 1
    codes = {each["code"] for each in json.loads(result.stdout)["checks"] if not each["ok"]}
    assert codes == {"not-installed", "agents-apart"}
    ready = {"numberReady": 1, "desiredNumberScheduled": 1, "readyReplicas": 2, "replicas": 2}
    names = {
        "daemonsets": ["node"],
        "deployments": ["controller", "webhook"],
        "statefulsets": ["broker", "attestation"],
    }
    for kind, items in names.items():
        singular = {"daemonsets": "DaemonSet", "deployments": "Deployment", "statefulsets": "StatefulSet"}[kind]
        cluster.have(
            kind,
            [
                {
                    "kind": singular,
                    "metadata": {"name": f"kloister-{name}", "namespace": "kloister-system"},
                    "status": ready,
                }
                for name in items
            ],
        )
    cluster.have("validatingadmissionpolicybindings", [{"metadata": {"name": "kloister-node"}}])
    result = run(kube_app, "check", "--json")
    assert result.exit_code == 0, result.output


def test_status_shows_confidential_nodes_and_list_all(cluster: Kubernetes) -> None:
    assert cluster
    assert [each["name"] for each in json.loads(run(kube_app, "status", "--json").stdout)["nodes"]] == ["n1"]
    assert [each["name"] for each in json.loads(run(node_app, "list", "--json").stdout)["nodes"]] == ["n1", "n2"]
    assert "ready" in run(node_app, "list").stdout
    assert "keeps nothing confidential" in run(node_app, "describe", "n1").stdout
    assert "[node-unknown]" in run(node_app, "describe", "n9").output


def test_uninstall_clears_nodes_first_and_keeps_the_namespace(cluster: Kubernetes) -> None:
    result = run(kube_app, "uninstall", "--json")
    assert result.exit_code == 0, result.output
    deleted = [(arguments, given) for arguments, given in cluster.calls() if "delete" in arguments]
    assert [item["kind"] for item in json.loads(deleted[0][1])["items"]] == ["DaemonSet"]
    assert "--cascade=foreground" in deleted[0][0], "an agent that still runs would report again"
    assert deleted[1][0][:3] == ["delete", "confidentialnodes", "--all"]
    kinds = {item["kind"] for item in json.loads(deleted[2][1])["items"]}
    assert "Namespace" not in kinds
    assert "CustomResourceDefinition" in kinds


def test_without_kubectl_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run(kube_app, "status")
    assert result.exit_code == 1
    assert "[kubectl-missing]" in result.output


def test_what_kubectl_says_is_told(cluster: Kubernetes) -> None:
    assert run(kube_app, "status").exit_code == 0
    (cluster.place / "nodes").unlink()
    (cluster.place / "kubectl").write_text("#!/bin/sh\necho 'connection refused' >&2\nexit 1\n")
    result = run(kube_app, "status")
    assert "connection refused" in result.output
    assert "[kubectl-failed]" in result.output


@pytest.mark.parametrize("daemon", ["webhook", "controller"])
def test_an_address_that_is_none_is_misuse(daemon: str) -> None:
    result = run(serve_app, daemon, "--listen", "nope")
    assert result.exit_code == 2
    assert "[listen-address]" in result.output
