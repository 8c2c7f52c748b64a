"""The chart gives the same objects as the Kustomize form, and its schema refuses what cannot be meant."""

from __future__ import annotations

import subprocess

import pytest

from tests.deploy.rendering import CHART, normal, output, program, rendered, templated


@pytest.mark.parametrize("minor", [20, 29, 34])
@pytest.mark.parametrize(
    ("form", "settings"),
    [("base", ["namespace.create=true"]), ("simulated", ["namespace.create=true", "simulate.enabled=true"])],
)
def test_both_forms_give_the_same_objects(form: str, settings: list[str], minor: int) -> None:
    assert normal(templated(*settings, version=f"1.{minor}.0")) == normal(rendered(form, minor))


def test_lint() -> None:
    output(program("helm"), "lint", "--strict", str(CHART))


def test_switches() -> None:
    small = templated("broker.enabled=false", "attestation.enabled=false", "networkPolicies.enabled=false")
    assert not [name for _, name in small if "broker" in name or "attestation" in name]
    assert not [kind for kind, _ in small if kind == "NetworkPolicy"]
    container = small["Deployment", "kloister-webhook"]["spec"]["template"]["spec"]["containers"][0]
    assert not [argument for argument in container["args"] if argument.startswith("--broker")]
    controller = templated("controller.taint=false")["Deployment", "kloister-controller"]
    assert "--no-taint" in controller["spec"]["template"]["spec"]["containers"][0]["args"]


def test_an_agents_sources_and_its_abstract_socket_which_takes_the_hosts_network() -> None:
    plain = templated()["DaemonSet", "kloister-node"]["spec"]["template"]["spec"]
    assert "hostNetwork" not in plain
    chosen = templated("node.abstractSocket=sgx_aesm_socket_base", "node.collateralSources=pcs")
    pod = chosen["DaemonSet", "kloister-node"]["spec"]["template"]["spec"]
    variables = {v["name"]: v.get("value") for v in pod["containers"][0]["env"]}
    assert variables["KLOISTER_NODE_ABSTRACT_SOCKET"] == "sgx_aesm_socket_base"
    assert variables["KLOISTER_COLLATERAL_SOURCES"] == "pcs"
    assert pod["hostNetwork"] is True


def test_sizes_of_simulated_nodes_reach_both_sides() -> None:
    pod = templated("simulate.enabled=true", r"simulate.size=32Gi\,512Mi")["DaemonSet", "kloister-node"]["spec"]
    variables = {v["name"]: v.get("value") for c in pod["template"]["spec"]["containers"] for v in c["env"]}
    assert variables["KLOISTER_NODE_SIMULATE"] == "32Gi,512Mi"
    assert variables["KLOISTER_PLATFORM_EPC"] == "32768,512"


@pytest.mark.parametrize(
    "setting", ["images.registry=no-slash", "webhook.failurePolicy=Maybe", "simulate.size=much", "unknown=1"]
)
def test_the_schema_refuses(setting: str) -> None:
    helm = program("helm")
    assert templated()
    run = subprocess.run(
        [helm, "template", "k", str(CHART), "--set", setting], capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "schema" in run.stderr
