"""The manifests against the schemas of current Kubernetes versions, and against what we promise of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest

from deploy.images.roles import ROLES
from tests.deploy.rendering import FORMS, Json, kustomized, normal, rendered

VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("form", FORMS)
def test_every_object_follows_the_schema(form: str, version: str) -> None:
    for document in rendered(form).values():
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("form", FORMS)
def test_kustomize_gives_the_same(form: str) -> None:
    assert normal(kustomized(form)) == normal(rendered(form))


def test_the_schemas_can_refuse() -> None:
    document = rendered("base")["Deployment", "kloister-webhook"]
    kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    document["spec"]["template"]["spec"]["containers"][0]["iamge"] = "typo"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


def _pods(form: str) -> Iterator[tuple[str, Json]]:
    for (kind, name), document in rendered(form).items():
        if kind in ("Deployment", "StatefulSet", "DaemonSet"):
            yield name, document["spec"]["template"]["spec"]


@pytest.mark.parametrize("form", FORMS)
def test_no_container_is_privileged_and_every_root_is_read_only(form: str) -> None:
    for name, pod in _pods(form):
        for container in pod["containers"]:
            context = container["securityContext"]
            assert not context.get("privileged"), name
            assert context["readOnlyRootFilesystem"], name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"]["drop"] == ["ALL"], name
            assert set(context["capabilities"].get("add", [])) <= {"SYS_PTRACE"}, name
            assert "memory" in container["resources"]["limits"], name


def test_only_the_agent_has_folders_of_the_host_and_runs_as_root() -> None:
    for name, pod in _pods("base"):
        assert any("hostPath" in volume for volume in pod.get("volumes", [])) == (name == "kloister-node")
        if name != "kloister-node":
            assert pod["securityContext"]["runAsNonRoot"], name
        assert not pod.get("hostNetwork")
        assert not pod.get("hostPID"), name


def test_images_are_those_that_we_build() -> None:
    used = {container["image"].partition(":")[0] for _, pod in _pods("simulated") for container in pod["containers"]}
    assert used == {f"kloister-{role}" for role in ROLES}


@pytest.mark.parametrize("form", FORMS)
def test_nothing_can_read_secrets_and_one_alone_writes_nodes(form: str) -> None:
    writers = set()
    for (kind, name), document in rendered(form).items():
        if kind not in ("ClusterRole", "Role"):
            continue
        for rule in document["rules"]:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]], name
            assert "secrets" not in rule["resources"], name
            if {"nodes", "nodes/status"} & set(rule["resources"]) and {"patch", "update"} & set(rule["verbs"]):
                writers.add(name)
    assert writers == {"kloister-controller"}


def test_no_secret_object_is_part_of_it() -> None:
    assert not [key for key in rendered("simulated") if key[0] == "Secret"]


def test_the_webhook_fails_closed_outside_its_own_namespace() -> None:
    webhook: Any = rendered("base")["MutatingWebhookConfiguration", "kloister-webhook"]["webhooks"][0]
    assert webhook["failurePolicy"] == "Fail"
    excluded = [item for item in webhook["namespaceSelector"]["matchExpressions"] if item["operator"] == "NotIn"]
    assert any("kloister-system" in item["values"] for item in excluded)
    assert "sgx.intel.com/epc" in webhook["matchConditions"][0]["expression"]
