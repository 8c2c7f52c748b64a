from __future__ import annotations

from typing import Any

import pytest

from kloister.kubernetes.manifests.rendering import Choice, merged, render


def find(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name))


def test_what_others_need_comes_first() -> None:
    kinds = [item["kind"] for item in render(Choice())]
    assert kinds[:2] == ["Namespace", "CustomResourceDefinition"]
    assert kinds.index("ServiceAccount") < kinds.index("DaemonSet")


def test_images_get_registry_and_tag() -> None:
    webhook = find(render(Choice(registry="registry.example/k/", tag="2")), "Deployment", "kloister-webhook")
    assert webhook["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/k/kloister-webhook:2"


@pytest.mark.parametrize(("sizes", "mib"), [("1Gi", "1024"), ("32Gi,512Mi", "32768,512"), ("1.5Gi", "1536")])
def test_agent_and_platform_are_told_the_same_size(sizes: str, mib: str) -> None:
    pod = find(render(Choice(simulate=sizes)), "DaemonSet", "kloister-node")["spec"]["template"]["spec"]
    variables = {v["name"]: v.get("value") for c in pod["containers"] for v in c["env"]}
    assert (variables["KLOISTER_NODE_SIMULATE"], variables["KLOISTER_PLATFORM_EPC"]) == (sizes, mib)


def test_a_real_node_has_no_simulated_platform() -> None:
    pod = find(render(Choice()), "DaemonSet", "kloister-node")["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["containers"]] == ["agent"]
    assert "hostPID" not in pod


def test_older_servers_get_what_they_know() -> None:
    new, old = render(Choice(minor=30)), render(Choice(minor=20))
    name = "kloister-webhook"
    assert "matchConditions" in find(new, "MutatingWebhookConfiguration", name)["webhooks"][0]
    assert "matchConditions" not in find(old, "MutatingWebhookConfiguration", name)["webhooks"][0]
    assert find(new, "PodDisruptionBudget", name)["apiVersion"] == "policy/v1"
    assert find(old, "PodDisruptionBudget", name)["apiVersion"] == "policy/v1beta1"
    assert find(new, "ValidatingAdmissionPolicyBinding", "kloister-node")
    assert not [
        item for item in render(Choice(minor=29)) if "Policy" in item["kind"] and item["kind"] != "NetworkPolicy"
    ]


def test_a_broker_elsewhere_is_told_and_ours_left_out() -> None:
    assert find(render(Choice()), "StatefulSet", "kloister-broker")
    objects = render(Choice(broker="broker.example:7443"))
    assert not [item for item in objects if "broker" in item["metadata"]["name"]]
    container = find(objects, "Deployment", "kloister-webhook")["spec"]["template"]["spec"]["containers"][0]
    assert "--broker=broker.example:7443" in container["args"]


def test_a_merge_goes_by_name() -> None:
    base = {"a": [{"name": "x", "v": 1}, {"name": "y"}], "b": [1, 2], "c": {"d": 1}}
    change = {"a": [{"name": "z"}, {"name": "x", "w": 2}], "b": [3], "c": {"e": 2}}
    expected = {"a": [{"name": "x", "v": 1, "w": 2}, {"name": "y"}, {"name": "z"}], "b": [3], "c": {"d": 1, "e": 2}}
    assert merged(base, change) == expected
