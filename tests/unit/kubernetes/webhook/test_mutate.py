from __future__ import annotations

import contextlib
import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.kubernetes.webhook.mutate import Mutation, Settings, mutate
from tests.support.apiserver.server import apply

Json = dict[str, Any]
MIB = 1024 * 1024
SETTINGS = Settings(block=8 * MIB, broker="broker.kloister-system:7443", largest=64 * 1024 * MIB)
SIMULATED = replace(SETTINGS, simulated=True)


def pod(limits: Json | None, **more: Any) -> Json:
    resources = {} if limits is None else {"resources": {"limits": limits}}
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "app", "image": "i", **resources}], **more}}


def mutated(document: Json, settings: Settings = SETTINGS) -> Json:
    changed = copy.deepcopy(document)
    for operation in mutate(document, settings).patches:
        apply(changed, operation)
    return changed


def test_a_pod_that_asks_for_no_epc_is_left_alone() -> None:
    assert mutate(pod(None), SETTINGS) == Mutation(())
    assert mutate(pod({"cpu": "1"}), SETTINGS) == Mutation(())
    assert mutate(pod({"sgx.intel.com/epc": "0"}), SETTINGS) == Mutation(())


def test_epc_in_bytes_becomes_enclave_blocks_and_toleration() -> None:
    spec = mutated(pod({"sgx.intel.com/epc": "10Mi", "cpu": "1"}))["spec"]
    expected = {"sgx.intel.com/epc": "10485760", "sgx.intel.com/enclave": "1", "sgx.intel.com/epc-block": "2"}
    assert spec["containers"][0]["resources"] == {"limits": {"cpu": "1", **expected}, "requests": expected}
    assert spec["tolerations"] == [{"key": "sgx.intel.com/epc", "operator": "Exists", "effect": "NoSchedule"}]


def test_the_older_name_counts_mib_and_is_replaced_with_a_warning() -> None:
    asked = pod({"kubernetes.azure.com/sgx_epc_mem_in_MiB": 10})
    limits = mutated(asked)["spec"]["containers"][0]["resources"]["limits"]
    assert limits["sgx.intel.com/epc"] == "10485760"
    assert "kubernetes.azure.com/sgx_epc_mem_in_MiB" not in limits
    assert "old name" in mutate(asked, SETTINGS).warnings[0]


def test_init_containers_are_not_forgotten() -> None:
    document = pod(None, initContainers=[{"name": "i", "resources": {"limits": {"sgx.intel.com/epc": "8Mi"}}}])
    assert mutated(document)["spec"]["initContainers"][0]["resources"]["limits"]["sgx.intel.com/epc-block"] == "1"
    assert "resources" not in mutated(document)["spec"]["containers"][0]


def test_a_pod_shaped_as_azure_shows_it_keeps_its_volume_and_variable() -> None:
    document = pod({"sgx.intel.com/epc": "10Mi"}, volumes=[{"name": "v", "hostPath": {"path": "/var/run/aesmd"}}])
    container = document["spec"]["containers"][0]
    container["env"] = [{"name": "SGX_AESM_ADDR", "value": "1"}]
    container["volumeMounts"] = [{"name": "v", "mountPath": "/var/run/aesmd"}]
    after = mutated(document)["spec"]
    assert after["volumes"] == document["spec"]["volumes"]
    assert after["containers"][0]["volumeMounts"] == container["volumeMounts"]
    assert after["containers"][0]["env"][0] == {"name": "SGX_AESM_ADDR", "value": "1"}


def test_what_the_launcher_is_told_does_not_overwrite_what_the_pod_says() -> None:
    document = pod({"sgx.intel.com/epc": "8Mi"})
    document["spec"]["containers"][0]["env"] = [{"name": "KLOISTER_BROKER", "value": "mine:1"}]
    environment = mutated(document)["spec"]["containers"][0]["env"]
    assert [item["name"] for item in environment] == ["KLOISTER_BROKER", "KLOISTER_INSTANCE"]
    assert environment[0]["value"] == "mine:1"


def test_the_container_that_makes_quotes_in_process_gets_the_provision_device() -> None:
    document = pod({"sgx.intel.com/epc": "8Mi"})
    document["metadata"]["annotations"] = {"sgx.intel.com/quote-provider": "app"}
    assert mutated(document)["spec"]["containers"][0]["resources"]["limits"]["sgx.intel.com/provision"] == "1"
    document["metadata"]["annotations"] = {"sgx.intel.com/quote-provider": "another"}
    assert "sgx.intel.com/provision" not in mutated(document)["spec"]["containers"][0]["resources"]["limits"]


def test_gramine_pods_are_kept_off_kernels_without_fsgsbase_in_every_term() -> None:
    terms = [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": []}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    document = pod({"sgx.intel.com/epc": "8Mi"}, affinity={"podAntiAffinity": {}, "nodeAffinity": required})
    document["metadata"]["annotations"] = {"kloister.dev/target": "gramine"}
    affinity = mutated(document)["spec"]["affinity"]
    found = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    expression = {"key": "kloister.dev/fsgsbase", "operator": "In", "values": ["true"]}
    assert all(expression in term["matchExpressions"] for term in found)
    assert affinity["podAntiAffinity"] == {}


def test_memory_for_private_files_is_a_volume_of_each_container() -> None:
    document = pod({"sgx.intel.com/epc": "8Mi"})
    containers = document["spec"]["containers"]
    containers += [{**containers[0], "name": "two"}, {"name": "plain", "image": "i"}]
    document["metadata"]["annotations"] = {"kloister.dev/private-memory": "64Mi"}
    spec = mutated(document)["spec"]
    memory = {"medium": "Memory", "sizeLimit": "64Mi"}
    names = ["kloister-memory-containers-0", "kloister-memory-containers-1"]
    assert spec["volumes"] == [{"name": name, "emptyDir": memory} for name in names]
    mounts = [container.get("volumeMounts") for container in spec["containers"]]
    assert mounts == [*([{"name": name, "mountPath": "/.kloister/memory"}] for name in names), None]


def test_where_nodes_are_simulated_each_container_gets_memory_for_its_pseudo_files() -> None:
    document = pod(None, initContainers=[{"name": "i", "resources": {"limits": {"sgx.intel.com/epc": "8Mi"}}}])
    assert "volumes" not in mutated(document)["spec"]
    spec = mutated(document, SIMULATED)["spec"]
    (volume,) = spec["volumes"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Mi"}
    assert spec["initContainers"][0]["volumeMounts"] == [{"name": volume["name"], "mountPath": "/dev/attestation"}]
    assert "volumeMounts" not in spec["containers"][0]


def test_names_of_volumes_that_are_taken_are_not_taken_again() -> None:
    """By the pod itself, or by an earlier call, after which another webhook has put a container in front."""
    document = pod({"sgx.intel.com/epc": "8Mi"}, volumes=[{"name": "kloister-attestation-containers-1"}])
    once = mutated(document, SIMULATED)
    app = once["spec"]["containers"][0]
    once["spec"]["containers"] = [{**pod({"sgx.intel.com/epc": "8Mi"})["spec"]["containers"][0], "name": "new"}, app]
    spec = mutated(once, SIMULATED)["spec"]
    assert spec["containers"][1] == app
    names = [volume["name"] for volume in spec["volumes"]]
    assert sorted(set(names)) == sorted(names)
    mounts = [container["volumeMounts"] for container in spec["containers"]]
    assert len({mount["name"] for (mount,) in mounts}) == 2
    assert all(len(name) <= 63 for name in names)


@pytest.mark.parametrize("size", ["64", "1Gi", "0", "-1Mi", "much", "1.5", ""])
def test_a_size_of_memory_that_cannot_be_meant_is_refused_with_its_name(size: str) -> None:
    document = pod({"sgx.intel.com/epc": "8Mi"})
    document["metadata"]["annotations"] = {"kloister.dev/private-memory": size}
    if size in {"64", "1Gi"}:
        assert mutated(document)["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] == size
        return
    with pytest.raises(Malformed) as caught:
        mutate(document, SETTINGS)
    assert caught.value.code == "quantity"
    assert "kloister.dev/private-memory" in caught.value.text


@pytest.mark.parametrize("places", [("/dev/attestation", "/.kloister/memory"), ("/dev", "/.kloister/")])
def test_what_the_pod_mounts_itself_stays(places: tuple[str, str]) -> None:
    document = pod({"sgx.intel.com/epc": "8Mi"}, volumes=[{"name": "mine", "emptyDir": {"medium": "Memory"}}])
    mounts = [{"name": "mine", "mountPath": place} for place in places]
    document["spec"]["containers"][0]["volumeMounts"] = mounts
    document["metadata"]["annotations"] = {"kloister.dev/private-memory": "64Mi"}
    spec = mutated(document, SIMULATED)["spec"]
    assert (spec["volumes"], spec["containers"][0]["volumeMounts"]) == (document["spec"]["volumes"], mounts)


def test_more_than_any_node_has_is_said_at_once() -> None:
    assert "stay Pending" in mutate(pod({"sgx.intel.com/epc": "65Gi"}), SETTINGS).warnings[0]


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"sgx.intel.com/epc": "10Mi", "kubernetes.azure.com/sgx_epc_mem_in_MiB": "11"}, "epc-conflict"),
        ({"sgx.intel.com/epc": "1.5"}, "quantity"),
        ({"sgx.intel.com/epc": "-1"}, "quantity"),
        ({"sgx.intel.com/epc": "9999999999Gi"}, "quantity"),
        ({"kubernetes.azure.com/sgx_epc_mem_in_MiB": str(2**62)}, "quantity"),
        ({"sgx.intel.com/epc": None}, "quantity"),
        ([], "pod-shape"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(limits: Any, code: str) -> None:
    assert mutate(pod({"sgx.intel.com/epc": "10Mi", "kubernetes.azure.com/sgx_epc_mem_in_MiB": "10"}), SETTINGS).patches
    if limits == []:
        limits = {"sgx.intel.com/epc": "8Mi"}
        document = pod(limits)
        document["spec"]["containers"][0]["env"] = "text"
    else:
        document = pod(limits)
    with pytest.raises(Malformed) as caught:
        mutate(document, SETTINGS)
    assert caught.value.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["limits", "name", "env"]), inner),
    max_leaves=6,
)


@given(st.sampled_from(["1", "8Mi", "100Mi", "1Gi"]), st.sampled_from([None, "gramine"]), st.booleans())
def test_a_second_call_changes_nothing(size: str, target: str | None, memory: bool) -> None:  # noqa: FBT001 (drawn)
    document = pod({"sgx.intel.com/epc": size})
    annotations = {"kloister.dev/target": target, "kloister.dev/private-memory": "1Mi" if memory else None}
    document["metadata"]["annotations"] = {name: value for name, value in annotations.items() if value}
    once = mutated(document, SIMULATED)
    assert mutate(once, SIMULATED).patches == ()


@given(st.sampled_from(["env", "resources", "volumeMounts"]), JSON)
def test_strange_pods_are_refused_with_a_reason_or_answered(field: str, value: Any) -> None:
    document = pod({"sgx.intel.com/epc": "8Mi"})
    document["spec"]["containers"][0][field] = value
    with contextlib.suppress(Malformed):  # any other exception is a failure
        mutate(document, SIMULATED)
